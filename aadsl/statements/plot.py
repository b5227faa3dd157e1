"""``plot``: a chart of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aadsl.errors import unknown_name
from aadsl.language import Call, Name, Reference
from aadsl.statements.base import Action, Statement
from aadsl.statements.scope import labels
from aadsl.statements.vocabulary import build

if TYPE_CHECKING:
    import xarray as xr

    from aadsl.statements.scope import Scope
    from aadsl.statements.session import Result


@dataclass(frozen=True)
class Plot(Statement):
    """Draw a chart of the newest answer that has what is asked for.

    plot timeline
    plot timeline of backdoor by source
    plot bars of digits

    `of` names behaviors and stages, all unless given; `by` a family of stages, or a coordinate of the steps. Charts and
    their options: `help charts`.
    """

    chart: Call
    of: tuple[Reference, ...] | None
    by: Name | None

    def resolve(self, scope: Scope) -> Action | None:
        """Check the chart, the names, and that there is an answer that holds them."""
        mistakes = len(scope.problems)
        chart = build(scope, self.chart, "chart")
        behaviors: list[str] = []
        stages: list[str] = []
        for reference in self.of or ():
            is_stage = reference.name.text in scope.families or reference.text in scope.stages
            is_behavior = reference.text in scope.behaviors or reference.name.text in scope.behavior_families()
            names = scope.stage_names(reference) if is_stage and not is_behavior else scope.behavior_names(reference)
            (stages if is_stage and not is_behavior else behaviors).extend(names or ())
        wanted = [*stages, *self._grouping(scope)]
        if len(scope.problems) > mistakes or self._lost(scope):
            return None
        if not any(answer.stages >= {*wanted} and answer.behaviors >= {*behaviors} for answer in scope.answers):
            if not scope.question_failed:
                scope.report(self.span, "there is no answer to plot", f"ask first: {self._ask_for(scope, wanted)}")
            return None
        return partial(self.run, chart=chart, stages=stages, wanted=wanted, behaviors=behaviors)

    def run(self, result: Result, chart: Any, stages: list[str], wanted: list[str], behaviors: list[str]) -> None:
        """Draw the newest answer that holds the names."""
        dataset = next(
            answer
            for answer in reversed(result.session.answers)
            if labels(answer, "stage") >= {*wanted} and labels(answer, "behavior") >= {*behaviors}
        )
        by = None if self.by is None else self.by.text
        shown = _part(dataset, stages, behaviors)
        if getattr(chart, "shows_examples", False):
            shown = _pictured(shown, result)
        result.charts.append(chart.draw(shown, by=by))

    def _grouping(self, scope: Scope) -> tuple[str, ...]:
        """Return the stages that `by` needs; none for a coordinate of the steps."""
        if self.by is None or self.by.text in scope.lost:
            return ()
        if self.by.text in scope.families:
            return scope.families[self.by.text]
        coordinates = scope.steps.names if scope.study is not None else ()
        if self.by.text not in coordinates and scope.study is not None:
            problem = unknown_name("family of stages or coordinate", self.by.text, [*scope.families, *coordinates])
            scope.report(self.by.span, problem.message, problem.hint)
        return ()

    def _lost(self, scope: Scope) -> bool:
        names = {reference.name.text for reference in self.of or ()} | {self.by.text if self.by else ""}
        return bool(names & scope.lost) or "load" in scope.lost

    def _ask_for(self, scope: Scope, stages: list[str]) -> str:
        behaviors = [reference.text for reference in self.of or () if reference.name.text not in scope.families]
        families = dict.fromkeys(name.partition("[")[0] for name in stages)
        return f"score {', '.join(families) or 'STAGES'} on {', '.join(behaviors) or 'BEHAVIORS'}"


def _part(dataset: xr.Dataset, stages: list[str], behaviors: list[str]) -> xr.Dataset:
    chosen = {"stage": stages, "behavior": behaviors}
    return dataset.sel({name: names for name, names in chosen.items() if names})


def _pictured(dataset: xr.Dataset, result: Result) -> xr.Dataset:
    """Return an answer about single examples with what they look like, for the hover of charts."""
    if "example_effect" not in dataset:
        return dataset
    import numpy as np

    from aadsl.charts.thumbnails import with_thumbnails

    known = result.study.behaviors
    asked = {name: known[name].examples for name in map(str, dataset["behavior"].values) if name in known}
    return with_thumbnails(dataset, {name: _inputs(e.take(np.arange(len(e)))) for name, e in asked.items()})


def _inputs(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple | list) else None
