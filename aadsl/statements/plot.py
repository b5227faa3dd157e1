"""``plot``: a chart of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aadsl.core.errors import unknown_name
from aadsl.language import Call, Name, Reference
from aadsl.statements.answers import STEPS, AnswerOutline, in_runs
from aadsl.statements.base import Action, Statement
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.vocabulary import build

if TYPE_CHECKING:
    import xarray as xr

    from aadsl.charts import Chart, Need


@dataclass(frozen=True)
class Wanted:
    """What a plot shows: a chart of stages (and the members of a family) and behaviors; all of them where none."""

    chart: Chart
    stages: tuple[str, ...]
    members: tuple[str, ...]
    behaviors: tuple[str, ...]
    coordinate: str | None

    def held_by(self, answer: AnswerOutline) -> bool:
        """Return whether an answer is about all of these."""
        known = self.coordinate is None or self.coordinate in answer.variables
        return known and answer.holds([*self.stages, *self.members], self.behaviors)

    def unmet(self, answer: AnswerOutline) -> Need | None:
        """Return what the chart needs of an answer that holds the names, and the answer lacks."""
        from aadsl.charts import unmet

        return unmet(self.chart.needs, answer.variables_on(self.behaviors))

    def served_by(self, answer: AnswerOutline) -> bool:
        """Return whether an answer holds the names, and what the chart needs."""
        return self.held_by(answer) and self.unmet(answer) is None

    def part(self, dataset: xr.Dataset, answer: AnswerOutline) -> xr.Dataset:
        """Return the part of an answer that is shown."""
        named = self.stages if {*self.stages} & {*self.members} else (*self.stages, *self.members)
        chosen = {"stage": named if self.stages else (), "behavior": answer.spelled(self.behaviors)}
        return dataset.sel({axis: list(dict.fromkeys(names)) for axis, names in chosen.items() if names})


@dataclass(frozen=True)
class Plot(Statement):
    """Draw a chart of the question before it in the cell, else of the newest answer about the loaded run.

    plot timeline
    plot timeline of backdoor by source
    plot bars of digits

    `of` names behaviors and stages, all unless given, of runs that are loaded `as` a name also a behavior in one of
    them: reading[first]. `by` names a family of stages, or for a timeline a coordinate of the steps. Charts, what they
    need of an answer and their options: `help charts`. A session keeps its newest 100 answers.
    """

    chart: Call
    of: tuple[Reference, ...] | None
    by: Name | None

    def resolve(self, scope: Scope) -> Action | None:
        """Check the chart, the names, and that an answer holds them and what the chart needs."""
        mistakes = len(scope.problems)
        scope.plotted = True  # or it is mistaken, and that is said
        chart: Chart | None = build(scope, self.chart, "chart")
        stages, behaviors = self._named(scope)
        members = self._members(scope, chart)
        if chart is None or len(scope.problems) > mistakes or self._lost(scope):
            return None
        coordinate = scope.steps.names_in_answers.get(self.by.text) if self.by is not None and not members else None
        wanted = Wanted(chart, stages, members, behaviors, coordinate)
        here = any(map(wanted.held_by, scope.asked))
        newest = scope.asked[::-1] if here else scope.answers[::-1]
        if any(map(wanted.served_by, newest)):
            return partial(self.run, wanted=wanted, here=here)
        if not scope.question_failed:
            self._refuse(scope, wanted, next((wanted.unmet(a) for a in newest if wanted.held_by(a)), None))
        return None

    def run(self, result: Result, wanted: Wanted, here: bool) -> None:
        """Draw the newest answer that has what is asked for: of this program, where one is about what is named."""
        known = result.asked if here else result.session.answers_about(result.study)
        chosen = next(answered for answered in reversed(known) if wanted.served_by(answered.outline))
        swept = any(need.met_by([STEPS]) for need in wanted.chart.needs)
        shown = chosen.with_steps(wanted.behaviors, result.progress) if swept else chosen.dataset
        shown = wanted.part(shown, chosen.outline)
        if wanted.chart.shows_examples:
            shown = _pictured(shown, result)
        by = wanted.coordinate or (None if self.by is None else self.by.text)
        result.draw(wanted.chart.draw(shown, by=by), chosen)

    def _named(self, scope: Scope) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the stages and the behaviors that `of` names."""
        stages: list[str] = []
        behaviors: list[str] = []
        runs = [*scope.beside, scope.run] if scope.beside else []
        of_one_run = {called for name in scope.behaviors for called in in_runs(name, runs)}
        for reference in self.of or ():
            if reference.text in of_one_run:
                behaviors.append(reference.text)
                continue
            is_stage = reference.name.text in scope.families or reference.text in scope.stages
            is_behavior = reference.text in scope.behaviors or reference.name.text in scope.behavior_families
            names = scope.stage_names(reference) if is_stage and not is_behavior else scope.behavior_names(reference)
            (stages if is_stage and not is_behavior else behaviors).extend(names or ())
        return tuple(stages), tuple(behaviors)

    def _members(self, scope: Scope, chart: Chart | None) -> tuple[str, ...]:
        """Return the stages that `by` needs; none for a coordinate of the steps."""
        if self.by is None or self.by.text in scope.lost:
            return ()
        if self.by.text in scope.families:
            return scope.families[self.by.text]
        coordinates = [name for name in scope.steps.names if name != "step"] if scope.study is not None else []
        if self.by.text not in coordinates and scope.study is not None:
            problem = unknown_name("family of stages or coordinate", self.by.text, [*scope.families, *coordinates])
            scope.report(self.by.span, problem.message, problem.hint)
        elif chart is not None and not chart.by_coordinate:
            message = f'`{self.chart.name.text}` is drawn by a family of stages, and "{self.by.text}" is a coordinate'
            scope.report(
                self.by.span, message, f"make a family of it and ask about that: stages NAME by {self.by.text}"
            )
        return ()

    def _lost(self, scope: Scope) -> bool:
        names = {reference.name.text for reference in self.of or ()} | {self.by.text if self.by else ""}
        return bool(names & scope.lost) or "load" in scope.lost

    def _refuse(self, scope: Scope, wanted: Wanted, need: Need | None) -> None:
        """Report that no answer holds the names, or that those which do lack what the chart needs."""
        if need is None:
            behaviors = [reference.text for reference in self.of or () if reference.name.text not in scope.families]
            families = dict.fromkeys(name.partition("[")[0] for name in (*wanted.stages, *wanted.members))
            asked = f"score {', '.join(families) or 'STAGES'} on {', '.join(behaviors) or 'BEHAVIORS'}"
            scope.report(self.span, "there is no answer to plot", f"ask first: {asked}")
        else:
            message = f"no answer to plot has {need.what}, which `{self.chart.name.text}` draws"
            scope.report(self.chart.span, message, need.way_out)


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
