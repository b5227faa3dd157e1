"""``verify``: estimates beside the truth, and the record beside what happened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aadsl.core.fit import Fit, fit
from aadsl.language import Argument, Call, Inline, Positional, Reference
from aadsl.statements.answers import AnswerOutline
from aadsl.statements.base import Action, Statement
from aadsl.statements.question import QuestionStatement, asked_of, planned
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.studied import Studied
from aadsl.statements.values import values_in_words
from aadsl.statements.vocabulary import given_options, table
from aadsl.study.question import DEFAULT_ESTIMATE, Question

if TYPE_CHECKING:
    import xarray as xr

EXACT = "retraining"
SAMPLES = 8
MEASURES = ("correlation", "slope", "relative_error")
VERIFY_OPTIONS = {"samples": int}


@dataclass(frozen=True)
class Verify(QuestionStatement):
    """Estimate effects and retrain without each stage: the estimate beside the truth.

    verify window on backdoor
    verify window on backdoor using linearized() under restart()
    verify trajectory

    The answer holds both effects and how well they agree: correlation, slope, relative error. `using` names the
    estimator that is put to the test, first_order unless given; the truth is always retraining() under the same
    intervention.

    `verify trajectory` asks something else: whether the recording is what happened. It checks files, model and data,
    replays some steps, and names the cause of what does not match; `with samples=20` replays 20 stretches, not 8.
    """

    stages: tuple[Reference | Inline, ...]
    behaviors: tuple[Reference, ...]
    using: Call | None
    under: Call | None

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        asked = asked_of(scope, self.stages, self.behaviors, self.using, self.under, DEFAULT_ESTIMATE)
        # `using retraining()` names the truth itself: the default estimate is compared with it.
        if asked is not None and isinstance(asked.estimator, table("estimator")[EXACT]):
            return replace(asked, estimator=DEFAULT_ESTIMATE)
        return asked

    def plan(self, study: Studied, asked: Question) -> str:
        """Return the plan of the estimates and that of the truth."""
        truth = replace(asked, estimator=EXACT)
        return f"estimate: {planned(study, asked)}\n\ntruth: {planned(study, truth)}"

    def expected_answer(self, scope: Scope, asked: Question) -> AnswerOutline:
        """Return what the answer will hold: exact effects beside the estimates."""
        answer = super().expected_answer(scope, asked)
        return replace(answer, variables=answer.variables | {"retrained_effect"})

    def run(self, result: Result, asked: Question) -> None:
        """Compute estimates and truth."""
        dataset = result.study.verify(**asked.arguments, progress=result.progress)
        dataset = dataset.assign(agreement(dataset["effect"].values, dataset["retrained_effect"].values))
        result.answer(dataset, asked)
        result.say("\n".join(filter(None, [summary(dataset), values_in_words(dataset)])))


@dataclass(frozen=True)
class VerifyTrajectory(Statement):
    """Check that the recording is what happened: its files, the model, the loss and the data, and replayed steps.

    verify trajectory
    verify trajectory with samples=20

    `samples` is the number of stretches between stored states that are replayed, 8 unless given. A mismatch is no
    mistake of the program: the report names its cause and what to do about it.
    """

    word: str
    arguments: tuple[Argument | Positional, ...] | None

    def resolve(self, scope: Scope) -> Action | None:
        """Check the options."""
        given = given_options(scope, "verify trajectory", self.arguments or (), VERIFY_OPTIONS)
        if not scope.needs_study(scope.span) or given is None:
            return None
        samples = given.get("samples", SAMPLES)
        if samples < 1:
            scope.report(self.span, "`samples` needs a number from 1 on")
            return None
        return partial(self.run, samples=samples)

    def run(self, result: Result, samples: int) -> None:
        """Verify, and show what was found."""
        result.report(result.study.verify_trajectory(samples=samples, progress=result.progress))


def agreement(estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> dict[str, tuple[str, list[float]]]:
    """Return how well ``estimate`` (stages, behaviors) follows ``exact``, for each behavior."""
    fits = [fit(guess, truth) for guess, truth in zip(estimate.T, exact.T, strict=True)]
    return {name: ("behavior", [getattr(one, name) for one in fits]) for name in MEASURES}


def summary(dataset: xr.Dataset) -> str:
    """Return the agreement in words, one line a behavior."""
    lines = []
    for name in dataset["behavior"].values:
        one = dataset.sel(behavior=name)
        stages = dataset.sizes["stage"]
        over = "over 1 stage" if stages == 1 else f"over {stages} stages"
        found = Fit(float(one.correlation), float(one.slope), float(one.relative_error), stages)
        lines.append(f"{name}: {found.in_words()} {over}")
    return "\n".join(["estimate beside truth (slope 1 and error 0 are perfect):", *lines])
