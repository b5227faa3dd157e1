"""What an answer holds, known before it is computed: what a plot or a save may refer to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

EACH = "example_effect"
STEPS = "step_effect"
KEPT = 100  # answers of a session; the oldest leave

T = TypeVar("T")


def keep_newest(answers: list[T], answer: T) -> None:
    """Add an answer to those of a session, or to what is foretold of them."""
    answers.append(answer)
    del answers[:-KEPT]


@dataclass(frozen=True)
class AnswerOutline:
    """The stages, behaviors and variables of a result.

    Attributes:
        stages: names of its stages; none where single steps were asked about.
        behaviors: names of its behaviors.
        variables: names of its variables and coordinates.
        each: the behaviors with effects on single examples.
        stepped: the behaviors of which effects of single steps are there, or can be swept when they are asked for.
        runs: the runs it is about, where several stand beside each other; behaviors are then :func:`name_in_run`.
    """

    stages: frozenset[str]
    behaviors: frozenset[str]
    variables: frozenset[str] = frozenset()
    each: frozenset[str] = frozenset()
    stepped: frozenset[str] = frozenset()
    runs: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Any) -> AnswerOutline:
        """Return what a computed answer holds."""
        behaviors = labels(dataset, "behavior")
        each = frozenset[str]()
        if EACH in dataset:
            known = np.isfinite(dataset[EACH]).any([d for d in dataset[EACH].dims if d != "behavior"])
            each = frozenset(name for name in behaviors if bool(known.sel(behavior=name)))
        stepped = behaviors if STEPS in dataset else frozenset[str]()
        return cls(labels(dataset, "stage"), behaviors, frozenset(map(str, dataset.variables)), each, stepped)

    def holds(self, stages: Iterable[str], behaviors: Iterable[str]) -> bool:
        """Return whether it is about all of these."""
        return self.stages >= {*stages} and self.behaviors >= {*self.spelled(behaviors)}

    def spelled(self, behaviors: Iterable[str]) -> tuple[str, ...]:
        """Return what the answer calls ``behaviors``: of several runs each, unless it names one."""
        return tuple(
            called
            for name in behaviors
            for called in (in_runs(name, self.runs) if self.runs and name not in self.behaviors else [name])
        )

    def variables_on(self, behaviors: Collection[str]) -> frozenset[str]:
        """Return the variables that say something of these behaviors, or of any where there are none."""
        about = frozenset(self.spelled(behaviors)) or self.behaviors
        variables = self.variables if self.each & about else self.variables - {EACH}
        return variables | {STEPS} if self.stepped & about else variables - {STEPS}


def labels(dataset: Any, dimension: str) -> frozenset[str]:
    """Return the labels along one dimension of a result; none where it has no such dimension."""
    return frozenset(map(str, dataset[dimension].values)) if dimension in dataset.dims else frozenset()


def in_runs(behavior: str, runs: Iterable[str]) -> list[str]:
    """Return what a behavior is called in each of several runs."""
    return [name_in_run(behavior, run) for run in runs]


def name_in_run(behavior: str, run: str) -> str:
    """Return what a behavior of a run is called beside those of others.

    >>> name_in_run("reading", "first"), name_in_run("digits[4]", "first")
    ('reading[first]', 'digits[4, first]')
    """
    return f"{behavior[:-1]}, {run}]" if behavior.endswith("]") else f"{behavior}[{run}]"
