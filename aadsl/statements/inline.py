"""Sets of steps that stand where a stage's name may: ``score steps[30:50], (night and not warmup) on reading``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aadsl.language import Inline, Name, Reference
from aadsl.language.grouping import Mask
from aadsl.statements.base import Action
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.stage import selected, why_no_steps


def named_stages(scope: Scope, stages: Sequence[Reference | Inline]) -> tuple[Reference, ...]:
    """Return names for all ``stages``: a set of steps is a stage that is called as it is written.

    Mistakes are reported, and what is mistaken is lost.
    """
    return tuple(stage if isinstance(stage, Reference) else _named(scope, stage) for stage in stages)


def _named(scope: Scope, stage: Inline) -> Reference:
    name = Name(stage.span, scope.source.selection(stage.span))
    member = selected(scope, stage.selection)
    if member is not None and not member.any():
        scope.report(stage.span, "these are no steps", why_no_steps(scope, stage.selection))
        member = None
    if member is None:
        scope.lost.add(name.text)
    else:
        scope.inline[name.text] = member
        scope.define_stages(name, {name.text: member})
    return Reference(stage.span, name, None)


def defining(stages: Mapping[str, Mask], action: Action) -> Action:
    """Return an action that first names ``stages`` in the study."""

    def run(result: Result) -> None:
        for name, member in stages.items():
            result.study.stage(name, member)
        action(result)

    return run
