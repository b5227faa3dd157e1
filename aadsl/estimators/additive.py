"""What estimators share that give every step an effect of its own: stages are sums."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aadsl.estimators.base import Behavior, Cost, Effects, Estimator, Floats, Query
from aadsl.interventions import Intervention
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History


class StepEffects(NamedTuple):
    """Effects of single steps.

    Attributes:
        per_step: (T, K) the effect of every step alone.
        resets: (T, K) the effect of an optimizer reset before every step; zero where an intervention resets nothing.
        growth: (K,) how many-fold cotangents grew over the run; NaN where the estimator has no such thing.
    """

    per_step: Floats
    resets: Floats
    growth: Floats


@runtime_checkable
class Additive(Estimator, Protocol):
    """An estimator whose effect of a stage is the sum of the effects of its steps."""

    additive: ClassVar[bool | None]

    @abstractmethod
    def step_effects(
        self, history: History, behaviors: Sequence[Behavior], intervention: Intervention, execution: Execution
    ) -> StepEffects:
        """Return the effects of every step."""
        ...


def stage_sums(query: Query, effects: StepEffects) -> Floats:
    """Return (S, K) sums of the effects of the steps of each stage and of the resets after it: milliseconds."""
    effect: Floats = query.members.astype(np.float64) @ effects.per_step
    if query.intervention.resets_after:
        effect = effect + _after(query.members).astype(np.float64) @ effects.resets
    return effect


def answer_by_sums(method: Additive, history: History, query: Query, execution: Execution) -> Effects:
    """Return the sums over stages, each example of a behavior that is ``per_example`` treated as one of its own."""
    behaviors, owners = [], []
    for k, behavior in enumerate(query.behaviors):
        parts = _singles(behavior) if behavior.per_example else [behavior]
        behaviors += parts
        owners += [k] * len(parts)
    effects = method.step_effects(history, behaviors, query.intervention, execution)
    sums, owner = stage_sums(query, effects), np.array(owners)
    columns = [owner == k for k in range(len(query.behaviors))]
    return Effects(
        np.stack([sums[:, column].mean(axis=1) for column in columns], axis=1),
        {k: sums[:, columns[k]] for k, behavior in enumerate(query.behaviors) if behavior.per_example},
        np.stack([effects.per_step[:, column].mean(axis=1) for column in columns], axis=1),
    )


def baseline_cost(history: History, query: Query, per_product: float, direction: str) -> Cost:
    """Return the cost of a sweep whose every step and behavior takes ``per_product`` gradients."""
    count = sum(len(b.examples) if b.per_example else 1 for b in query.behaviors)
    return Cost(history.length * (1 + per_product * count), round(per_product > 0) * history.length * count, direction)


def _singles(behavior: Behavior) -> list[Behavior]:
    picks = np.arange(len(behavior.examples))
    return [replace(behavior, examples=behavior.examples.select(picks[i : i + 1]), per_example=False) for i in picks]


def _after(members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (S, T) true at the first step after each stretch of a stage."""
    after = np.zeros_like(members)
    after[:, 1:] = members[:, :-1] & ~members[:, 1:]
    return after
