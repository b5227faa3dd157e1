"""``rank``: the steps or stages with the largest effects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aadsl.language import Call, Literal, Node, Reference
from aadsl.statements.answers import AnswerOutline
from aadsl.statements.question import QuestionStatement, asked_of, method_of
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.vocabulary import table
from aadsl.study.question import Question

if TYPE_CHECKING:
    import xarray as xr

DEFAULT_TOP = 10


@dataclass(frozen=True)
class EveryStep(Node):
    """``steps``: each step is asked about by itself."""

    word: str


@dataclass(frozen=True)
class Rank(QuestionStatement):
    """List the steps, or the stages, with the largest effects, whichever their sign.

    rank steps on backdoor top 10
    rank source on digits top 3 using first_order()

    Ten are listed unless `top` says otherwise.
    """

    subject: EveryStep | tuple[Reference, ...]
    behaviors: tuple[Reference, ...]
    top: Literal | None
    using: Call | None
    under: Call | None

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        if self.top is not None and int(self.top.value) < 1:
            scope.report(self.top.span, "`top` needs a number from 1 on")
        stages = () if isinstance(self.subject, EveryStep) else self.subject
        asked = asked_of(scope, stages, self.behaviors, self.using, self.under)
        if asked is None or stages or self.using is None or method_of(asked.estimator).additive:
            return asked
        additive = [name for name, member in table("estimator").items() if member.additive]
        message = f"{self.using.name.text} gives no effects of single steps"
        scope.report(self.using.span, message, f"take one of {', '.join(additive)}; or rank a family: stages …")
        return None

    def expected_answer(self, scope: Scope, asked: Question) -> AnswerOutline:
        """Return what the answer will hold: of single steps only their effects."""
        answer = super().expected_answer(scope, asked)
        if isinstance(self.subject, EveryStep):
            return replace(answer, variables=frozenset({"step_effect", *scope.steps.names}), each=frozenset())
        return answer

    def run(self, result: Result, asked: Question) -> None:
        """Compute all effects, keep them, and list the largest."""
        study = result.study
        if isinstance(self.subject, EveryStep):
            effects = study.step_effects(**asked.arguments, progress=result.progress)
            dataset = study.steps.assign(step_effect=effects.drop_attrs(deep=False)).assign_attrs(effects.attrs)
            axis = "step"
        else:
            dataset = study.score(**asked.arguments, progress=result.progress)
            effects, axis = dataset["effect"], "stage"
        top = DEFAULT_TOP if self.top is None else int(self.top.value)
        result.answer(ranked(dataset, effects, axis, top))
        result.say(listing(result.dataset, axis))


def ranked(dataset: xr.Dataset, effects: xr.DataArray, axis: str, top: int) -> xr.Dataset:
    """Add the ``top`` largest of ``effects`` (axis, behavior): ``ranked`` and ``ranked_effect`` (rank, behavior)."""
    values = effects.transpose(axis, "behavior")
    order = np.argsort(-np.abs(values.values), axis=0, kind="stable")[:top]
    return dataset.assign(
        ranked=(("rank", "behavior"), values[axis].values[order]),
        ranked_effect=(("rank", "behavior"), np.take_along_axis(values.values, order, axis=0)),
    ).assign_coords(rank=np.arange(1, len(order) + 1))


def listing(dataset: xr.Dataset | None, axis: str) -> str:
    """Return the ranks as text, one block a behavior."""
    assert dataset is not None
    blocks = []
    for name in dataset["behavior"].values:
        one = dataset.sel(behavior=name)
        rows = zip(one["rank"].values, one["ranked"].values, one["ranked_effect"].values, strict=True)
        lines = [f"{rank:>4}  {axis} {label!s:<12} {effect:+.4g}" for rank, label, effect in rows]
        blocks.append("\n".join([f"largest effects on {name}:", *lines]))
    return "\n\n".join(blocks)
