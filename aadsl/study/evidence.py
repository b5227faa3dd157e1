"""What exact answers say of estimates: pairs of both, and the intervals that follow from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aadsl.estimators import Behavior, Effects, Estimator, Query
from aadsl.estimators.base import Floats
from aadsl.interventions import Intervention
from aadsl.study.intervals import half_width
from aadsl.study.trust import Evidence, Level, verdict

SIMILAR = 2.0  # stages whose numbers of steps differ by this factor at most speak for each other


class Comparison(NamedTuple):
    """An estimate beside the truth, for a stage of ``steps`` steps; ``scale`` is the error that was to be expected."""

    steps: int
    estimate: float
    exact: float
    scale: float


class Bounds(NamedTuple):
    """Ends of the 90% intervals (S, K), NaN where there is none, and how many exact answers they are from."""

    low: Floats
    high: Floats
    pairs: NDArray[np.int64]


class Comparisons:
    """Estimates that were compared with exact answers, by estimator, intervention and behavior."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[Estimator, Intervention, Behavior], dict[bytes, Comparison]] = defaultdict(dict)

    def add(self, method: Estimator, query: Query, estimates: Effects, exact: Floats, known: NDArray[np.bool_]) -> None:
        """Add the estimates of the stages whose ``exact`` effects (S, K) are ``known`` (S,)."""
        scale = expected_errors(estimates)
        for k, behavior in enumerate(query.behaviors):
            own = self._pairs[method, query.intervention, behavior]
            for s in np.flatnonzero(known):
                member = query.members[s]
                pair = Comparison(int(member.sum()), estimates.effect[s, k], exact[s, k], scale[s, k])
                own[np.packbits(member).tobytes()] = pair

    def of(self, method: Estimator, intervention: Intervention, behavior: Behavior) -> Sequence[Comparison]:
        """Return the pairs that there are."""
        return list(self._pairs.get((method, intervention, behavior), {}).values())

    def bounds(self, method: Estimator, query: Query, estimates: Effects) -> Bounds:
        """Return the intervals of estimates, each from the pairs of stages about as long."""
        scale, shape = expected_errors(estimates), estimates.effect.shape
        width, counts = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
        for s, k in np.ndindex(*shape):
            steps = int(query.members[s].sum())
            pairs = self.of(method, query.intervention, query.behaviors[k])
            scores = [
                abs(pair.exact - pair.estimate) / pair.scale
                for pair in pairs
                if steps <= SIMILAR * pair.steps and pair.steps <= SIMILAR * steps
            ]
            width[s, k], counts[s, k] = half_width(np.array(scores)) * scale[s, k], len(scores)
        return Bounds(estimates.effect - width, estimates.effect + width, counts)

    def step_bounds(self, method: Estimator, query: Query, effects: Floats) -> tuple[Floats, Floats]:
        """Return the ends (T, K) of the 90% intervals of estimated ``effects`` (T, K) of single steps.

        They are NaN where too few exact answers on single steps are known.
        """
        width = np.full_like(effects, np.nan)
        for k, behavior in enumerate(query.behaviors):
            pairs = [pair for pair in self.of(method, query.intervention, behavior) if pair.steps == 1]
            if pairs:
                scores = np.array([abs(pair.exact - pair.estimate) / pair.scale for pair in pairs])
                typical = np.median([pair.scale - abs(pair.estimate) for pair in pairs])  # as `expected_errors` adds it
                width[:, k] = half_width(scores) * (np.abs(effects[:, k]) + typical)
        return effects - width, effects + width

    def of_typical_step(
        self, method: Estimator, intervention: Intervention, behavior: Behavior, unverified: str, approximate: str
    ) -> tuple[Level, str]:
        """Return how far the estimate of a single step can be trusted that is as large as the typical one, and why."""
        scores = [abs(p.exact - p.estimate) / p.scale for p in self.of(method, intervention, behavior) if p.steps == 1]
        width = 2 * half_width(np.array(scores))  # of an estimate of 1, where the typical one is as large
        low, high = 1.0 - width, 1.0 + width
        known = Evidence(1.0, low=low, high=high, pairs=len(scores), unverified=unverified, approximate=approximate)
        level, reason = verdict(known)
        if level != "low" or np.isfinite(width):
            reason = f"a typical step is off by at most {width:.0%}, nine times in ten, by {len(scores)} exact answers"
            reason = f"{reason}; {approximate}" if approximate else reason
        return level, reason


def expected_errors(estimates: Effects) -> Floats:
    """Return (S, K) the size of the error to be expected of each estimate, up to a factor.

    That is how far the stage moved the parameters, ‖E‖, where the estimator knows it. Over 146 runs (networks with
    BatchNorm and GroupNorm, Transformers, ReLU and GELU, SGD and AdamW; windows of five steps, two behaviors) 15 random
    exact answers gave ``blocks`` intervals with it that covered 93% of the others, half as wide as with the sizes of
    the estimates. Of the numbers that were then called high 1.4% were off by more than 15%, of those called high or
    medium 0.6% had the wrong sign (tests/benchmarks/intervals.md). Elsewhere it is the size of the estimate, to which
    the typical one is added, or the scores of estimates near zero would be without bound.
    """
    if estimates.size is not None:
        scale: Floats = np.broadcast_to(estimates.size[:, None] + np.finfo(float).tiny, estimates.effect.shape)
        return scale
    sizes = np.abs(estimates.effect)
    scale = sizes + np.median(sizes, axis=0) + np.finfo(float).tiny
    return scale
