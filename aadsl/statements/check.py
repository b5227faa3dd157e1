"""``check``: how far estimates are off, by exact replays of a few single steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from aadsl.core.fit import Fit
from aadsl.core.members import describe
from aadsl.language import Argument, Call, Positional, Reference
from aadsl.statements.base import Action
from aadsl.statements.question import QuestionStatement, asked_of, method_of, planned
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.studied import Studied
from aadsl.statements.vocabulary import given_options
from aadsl.study.question import DEFAULT_ESTIMATE, SAMPLES, Question

if TYPE_CHECKING:
    import xarray as xr

EXACT = "retraining"
CHECK_OPTIONS = {"samples": int}


@dataclass(frozen=True)
class CheckQuestion(Question):
    """How far are estimates of so many single steps off?"""

    samples: int = SAMPLES


@dataclass(frozen=True)
class Check(QuestionStatement):
    """Compare estimates of a few single steps with exact replays.

    check backdoor
    check backdoor, digits using blocks() under restart()
    check digits with samples=30

    One random step of each of 15 equal stretches of the run is taken, or of as many as `samples` says; each costs one
    replay from there to the end, which `explain check …` prices. What is found is kept: from 15 steps on, later
    estimates of single steps and of stages about as short have 90% intervals from it. `using` names the estimator,
    first_order unless given, `under` the intervention, skip unless given. From Python: result.checks.
    """

    behaviors: tuple[Reference, ...]
    using: Call | None
    under: Call | None
    arguments: tuple[Argument | Positional, ...] | None

    def resolve(self, scope: Scope) -> Action | None:
        """Check the question; it announces no answer to plot or to save."""
        asked = self.ask(scope)
        return None if asked is None else partial(self.run, asked=asked)

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        mistakes = len(scope.problems)
        given = given_options(scope, "check", self.arguments or (), CHECK_OPTIONS)
        asked = asked_of(
            scope, (), self.behaviors, self.using, self.under, DEFAULT_ESTIMATE, without_gradient=_ALWAYS_EXACT
        )
        if given is not None and given.get("samples", SAMPLES) < 1:
            scope.report((self.arguments or (self,))[0].span, "`samples` needs a number from 1 on", _FROM)
        if asked is not None and self.using is not None and not _estimates(asked):
            message = f"{self.using.name.text} is no estimate to be checked"
            scope.report(self.using.span, message, "name one: using first_order(), or using blocks()")
        if asked is None or given is None or len(scope.problems) > mistakes:
            return None
        return CheckQuestion(**{**vars(asked), **given})

    def plan(self, study: Studied, asked: Question) -> str:
        """Return the plan of the estimates and that of the exact replays."""
        from aadsl.study.calibration import single_steps  # late: a program is read without torch

        members = single_steps(study.trajectory.length, _samples(asked))
        branch = study.branch()
        steps = branch.family("step", {str(int(mask.argmax())): mask for mask in members})
        estimate, exact = replace(asked, stages=steps), replace(asked, stages=steps, estimator=EXACT)
        said = f"check of {_counted(len(steps))}"
        return f"{said}\nestimates: {planned(branch, estimate)}\n\nexact replays: {planned(branch, exact)}"

    def run(self, result: Result, asked: Question) -> None:
        """Estimate and replay, and say how they compare."""
        found = result.study.check(
            asked.behaviors,
            samples=_samples(asked),
            estimator=asked.estimator,
            intervention=asked.intervention,
            progress=result.progress,
        )
        result.checks.append(found)
        result.say(compared(found, asked))


_ALWAYS_EXACT = "effects on it are never estimated, so there is nothing to check; take a behavior such as margin"
_FROM = f"from {SAMPLES} on, estimates get intervals"


def _estimates(asked: Question) -> bool:
    method = method_of(asked.estimator)
    return not method.exact and method.needs_gradient


def _samples(asked: Question) -> int:
    assert isinstance(asked, CheckQuestion)  # as `ask` makes it
    return asked.samples


def compared(found: xr.Dataset, asked: Question) -> str:
    """Return in words how estimates compare with exact effects, one line a behavior."""
    by = asked.estimator if isinstance(asked.estimator, str) else describe(asked.estimator)
    steps = len(np.atleast_1d(found.attrs["steps"]))
    lines = [f"estimates by {by} of {_counted(steps)} beside exact replays:"]
    for name in found["behavior"].values:
        one = found.sel(behavior=name)
        if not np.isfinite(one["relative_error"]):
            lines.append(f"  {name}: none of these steps has any effect, so nothing is known of the error")
            continue
        error, low, high = (f"{float(one[part]):.0%}" for part in ("relative_error", "low", "high"))
        off = f"off by {error} (90% interval {low} to {high})"
        measured = Fit(float(one["correlation"]), float(one["slope"]), float(one["relative_error"]), steps)
        lines.append(f"  {name}: {measured.in_words(off)}")
    if steps < SAMPLES:
        lines.append(f"too few for intervals of other estimates: say `with samples={SAMPLES}`")
    else:
        lines.append("later estimates of stages about as short have 90% intervals from these")
    return "\n".join(lines)


def _counted(steps: int) -> str:
    return f"{steps} single {'step' if steps == 1 else 'steps'}"
