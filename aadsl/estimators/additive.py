"""What estimators share that give every step an effect of its own: stages are sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aadsl.estimators.base import Answer, Behavior, Cost, Estimator, Floats, Question
from aadsl.history import History
from aadsl.interventions import Intervention
from aadsl.propagation import Progress


class StepEffects(NamedTuple):
    """Effects of single steps.

    Attributes:
        own: (T, K) the effect of every step alone.
        resets: (T, K) the effect of an optimizer reset before every step; zero where an intervention resets nothing.
        growth: (K,) how many-fold cotangents grew over the run; NaN where the estimator has no such thing.
    """

    own: Floats
    resets: Floats
    growth: Floats


@runtime_checkable
class Additive(Estimator, Protocol):
    """An estimator whose effect of a stage is the sum of the effects of its steps."""

    additive: ClassVar[bool]

    def step_effects(
        self, history: History, behaviors: Sequence[Behavior], intervention: Intervention, progress: Progress
    ) -> StepEffects:
        """Return the effects of every step."""
        ...


def stage_sums(question: Question, effects: StepEffects) -> Floats:
    """Return (S, K) sums of the effects of the steps of each stage and of the resets after it: milliseconds."""
    effect: Floats = question.members.astype(np.float64) @ effects.own
    if question.intervention.resets_after:
        effect = effect + _after(question.members).astype(np.float64) @ effects.resets
    return effect


def answer_by_sums(method: Additive, history: History, question: Question, progress: Progress) -> Answer:
    """Return the sums over stages, each example of a behavior that is ``per_example`` treated as one of its own."""
    behaviors, owners = [], []
    for k, behavior in enumerate(question.behaviors):
        parts = _singles(behavior) if behavior.per_example else [behavior]
        behaviors += parts
        owners += [k] * len(parts)
    effects = method.step_effects(history, behaviors, question.intervention, progress)
    sums, owner = stage_sums(question, effects), np.array(owners)
    columns = [owner == k for k in range(len(question.behaviors))]
    return Answer(
        np.stack([sums[:, column].mean(axis=1) for column in columns], axis=1),
        {k: sums[:, columns[k]] for k, behavior in enumerate(question.behaviors) if behavior.per_example},
        np.stack([effects.own[:, column].mean(axis=1) for column in columns], axis=1),
    )


def baseline_cost(history: History, question: Question, per_product: float, direction: str) -> Cost:
    """Return the cost of a sweep whose every step and behavior takes ``per_product`` gradients."""
    count = sum(len(b.examples) if b.per_example else 1 for b in question.behaviors)
    return Cost(history.length * (1 + per_product * count), round(per_product > 0) * history.length * count, direction)


def _singles(behavior: Behavior) -> list[Behavior]:
    picks = np.arange(len(behavior.examples))
    return [replace(behavior, examples=behavior.examples.select(picks[i : i + 1]), per_example=False) for i in picks]


def _after(members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (S, T) true at the first step after each stretch of a stage."""
    after = np.zeros_like(members)
    after[:, 1:] = members[:, :-1] & ~members[:, 1:]
    return after
