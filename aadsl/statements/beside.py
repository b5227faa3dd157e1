"""Runs beside each other: what is defined is defined in each, what is asked is asked of each, and answered as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aadsl.core.errors import Problem
from aadsl.core.progress import Progress
from aadsl.statements.answers import AnswerOutline, keep_newest, name_in_run
from aadsl.statements.base import Action, Statement
from aadsl.statements.inline import defining
from aadsl.statements.scope import Scope
from aadsl.statements.session import Answered, Result

if TYPE_CHECKING:
    import xarray as xr

ABSENT = {"exact": False, "trust": "", "trust_reason": "", "ranked_exact": False, "ranked_trust": ""}
"""What an answer says of a stage that one of the runs does not have."""


@dataclass(eq=False)
class AnsweredBeside(Answered):
    """Answers of several runs to one question, by run; ``dataset`` has all of them."""

    parts: dict[str, Answered] = field(default_factory=dict)

    @cached_property
    def outline(self) -> AnswerOutline:
        """What it holds."""
        return outlined({run: part.outline for run, part in self.parts.items()})

    def with_steps(self, behaviors: Collection[str] = (), progress: Progress | None = None) -> xr.Dataset:
        """Return the answer with the effects of single steps, of the runs of those behaviors; swept when needed."""
        asked = {*self.outline.spelled(behaviors)} or self.outline.behaviors
        swept = {}
        for run, part in self.parts.items():
            if names := [name for name in part.outline.behaviors if name_in_run(name, run) in asked]:
                swept[run] = part.with_steps(names, progress)
        return joined(swept)


def resolved(statement: Statement, scope: Scope) -> Action | None:
    """Resolve a statement in the scope of each of the runs; mistakes that are none in all of them name the run."""
    actions: dict[str, Action] = {}
    answers: dict[str, AnswerOutline] = {}
    mistakes: dict[Problem, list[str]] = {}
    scopes = {**scope.beside, scope.run: scope}
    for run, own in scopes.items():
        own.span, own.ahead = scope.span, scope.ahead
        told, before = len(own.problems), next(reversed(own.answers), None)
        action = statement.resolve(own)
        if action is not None:
            actions[run] = defining(own.inline, action) if own.inline else action
        own.inline = {}
        for problem in own.problems[told:]:
            mistakes.setdefault(problem, []).append(run)
        del own.problems[told:]
        if own.answers and own.answers[-1] is not before:
            answers[run] = own.answers.pop()
            own.asked.pop()
    for problem, runs in mistakes.items():
        where = "" if len(runs) == len(scopes) else f', in run "{runs[0]}"'
        scope.problems.append(replace(problem, message=f"{problem.message}{where}"))
    if answers:
        together = outlined(answers)
        keep_newest(scope.answers, together)
        scope.asked.append(together)
    return _together(actions) if len(actions) == len(scopes) else None


def _together(actions: Mapping[str, Action]) -> Action:
    """Return an action that does each of ``actions`` in the session of its run, and gives one answer."""

    def run_all(result: Result) -> None:
        given: dict[str, Result] = {}
        for run, action in actions.items():
            own = given[run] = Result(result.session.runs[run], progress=result.progress, text=result.text)
            action(own)
            result.checks += own.checks
            for message in own.messages:
                result.say(f"{run}: {message}")
            for report in own.reports:
                result.report(report)
            for plan in own.plans:
                result.foretell(f"{run}: {plan}")
        parts = {run: own.answered for run, own in given.items() if own.answered is not None}
        if parts:
            newest = next(reversed(parts.values()))
            program = tuple(text for _, text in result.session.definitions)
            dataset = joined({run: part.dataset for run, part in parts.items()})
            runs = frozenset[tuple[int | str, ...]]().union(*(part.runs for part in parts.values()))
            answered = AnsweredBeside(dataset, None, newest.asked, (*program, result.text), runs, parts=parts)
            result.asked.append(answered)
            result.shown.append(answered)
            keep_newest(result.session.answers, answered)

    return run_all


def joined(datasets: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return answers of several runs as one: a behavior of each run is called ``reading[run]``.

    What was recorded of the steps, and which of them are in a stage, differs from run to run and is left out.
    """
    import xarray as xr

    parts = []
    for run, dataset in datasets.items():
        steps = {"step_effect", "step_effect_low", "step_effect_high", "step"}
        recorded = [name for name, variable in dataset.variables.items() if "step" in variable.dims]
        bare = dataset.drop_vars([name for name in recorded if name not in steps])
        parts.append(bare.assign_coords(behavior=[name_in_run(str(name), run) for name in dataset["behavior"].values]))
    fill: dict[Any, Any] = {name: value for name, value in ABSENT.items() if any(name in part for part in parts)}
    for name in {name for part in parts for name in part.data_vars} - {*fill}:
        fill[name] = float("nan")
    whole = xr.concat(parts, "behavior", data_vars="all", join="outer", fill_value=fill, combine_attrs="override")
    by = {run: str(dataset.attrs.get("answered_by", "")) for run, dataset in datasets.items()}
    said = (
        "; ".join(f"{run}: {text}" for run, text in by.items()) if len({*by.values()}) > 1 else next(iter(by.values()))
    )
    named = {
        attribute: ", ".join(f"{run}: {dataset.attrs.get(attribute, '')}" for run, dataset in datasets.items())
        for attribute in ("trajectory", "trajectory_digest", "runs")
    }
    return whole.assign_attrs(answered_by=said, **named)


def outlined(outlines: Mapping[str, AnswerOutline]) -> AnswerOutline:
    """Return what the answers of several runs hold together."""
    every = list(outlines.values())

    def of_runs(part: str) -> frozenset[str]:
        return frozenset(name_in_run(name, run) for run, one in outlines.items() for name in getattr(one, part))

    return AnswerOutline(
        frozenset[str]().union(*(one.stages for one in every)),
        of_runs("behaviors"),
        frozenset[str]().union(*(one.variables for one in every)) - {"member"},
        of_runs("each"),
        of_runs("stepped"),
        tuple(outlines),
    )
