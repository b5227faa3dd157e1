"""The factor of each micro-batch's loss in the loss of its step: as told, or as measured while it was recorded.

Of each micro-batch the recording keeps what ``backward()`` was called on, R, and by what the loop had multiplied that
last, f. Beside the loss given, L, this tells the weight, R/L, at a state that was stored. What of the batch explains it
there (f itself, one over their number, a number of examples or targets, where a sum was differentiated and the loss
given is a mean, …) is then known of every step, to the bit where it is f.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_leaves

from aadsl.trajectory import Trajectory

NEAR = 1e-3  # relative distance from what was measured within which a rule explains it
_EQUAL = 1e-5  # distances that are one
_PROBES = 3  # stored states at which is measured, with different numbers of micro-batches where there are some
_IGNORED = -100  # targets without a loss, as in PyTorch

Weights = tuple[float, ...]


@dataclass(frozen=True)
class MicroBatches:
    """What is known of the micro-batches of a step.

    Attributes:
        factors: by what each loss was multiplied last before ``backward()``.
        sizes: their numbers of examples.
        load: returns them.
    """

    factors: Weights
    sizes: Sequence[int]
    load: Callable[[], tuple[Any, ...]]

    @cached_property
    def targets(self) -> dict[str, Weights]:
        """For each tensor of whole numbers, how many of them count as targets: all, and all but the first in a row."""
        parts = [[leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)] for batch in self.load()]
        found: dict[str, Weights] = {}
        for place, together in enumerate(zip(*parts, strict=False)):
            if all(leaf.dim() and leaf.dtype in (torch.int64, torch.int32) for leaf in together):
                found[f"{place}"] = tuple(float((leaf != _IGNORED).sum()) for leaf in together)
                found[f"{place} shifted"] = tuple(float((leaf[..., 1:] != _IGNORED).sum()) for leaf in together)
        return {name: counts for name, counts in found.items() if all(counts)}


Weighing = Callable[[MicroBatches], Weights]
"""What gives the weights of the micro-batches of any step of a run."""


class Measured(NamedTuple):
    """What was measured at a step: R/L of each micro-batch, infinite where that says nothing; and its micro-batches."""

    weights: Weights
    of: MicroBatches


def _constant(found: Sequence[Measured]) -> float:
    """Return the first weight that was measured, as one over a whole number or a whole number where it is that."""
    value = next((w for one in found for w in one.weights if isfinite(w) and w), 1.0)
    return float(round(value)) if abs(value) >= 1 else 1 / round(1 / value)


def _rules(one: MicroBatches, constant: float) -> Iterator[Weighing]:
    """Yield what may explain the weights of a run that has such micro-batches, likely ones first."""
    counts: list[Callable[[MicroBatches], Weights]] = [lambda m: tuple(map(float, m.sizes))]
    counts += [lambda m, name=name: m.targets.get(name, ()) for name in one.targets]  # type: ignore[misc]
    bases: list[Weighing] = [
        lambda m: m.factors,
        lambda m: (1.0,) * len(m.sizes),
        lambda m: (1 / len(m.sizes),) * len(m.sizes),
        lambda m: (constant,) * len(m.sizes),
    ]
    yield from bases
    for count in counts:
        yield lambda m, c=count: tuple(own / sum(c(m)) for own in c(m))  # type: ignore[misc]
        for base in bases:
            yield lambda m, b=base, c=count: tuple(f * own for f, own in zip(b(m), c(m), strict=False))  # type: ignore[misc]
            yield lambda m, b=base, c=count: tuple(f / own for f, own in zip(b(m), c(m), strict=False))  # type: ignore[misc]


def explaining(found: Sequence[Measured]) -> Weighing | None:
    """Return the rule that comes nearest to what was measured, the first of equal ones; None where none comes near."""
    best, chosen = NEAR, None
    for rule in chain.from_iterable(_rules(one.of, _constant(found)) for one in found[:1]):
        distance = max((_distance(rule(one.of), one.weights) for one in found), default=inf)
        if distance < best - _EQUAL or (chosen is None and distance < best):
            best, chosen = distance, rule
    return chosen


def _distance(weights: Weights, measured: Weights) -> float:
    """Return the largest relative distance; 0 where nothing was measured."""
    if len(weights) != len(measured):
        return inf
    pairs = ((own, aim) for own, aim in zip(weights, measured, strict=True) if isfinite(aim))
    return max((abs(own / aim - 1) for own, aim in pairs), default=0.0)


class MicroBatchWeights:
    """The weights of the micro-batches of ``trajectory``.

    Args:
        trajectory: what was recorded.
        batches: ``batches(t)`` returns what loads those of a step.
        losses: ``losses(t)`` returns the loss given, L, of each of them at the state stored before step t.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        batches: Callable[[int], Callable[[], tuple[Any, ...]]],
        losses: Callable[[int], Sequence[float]],
    ) -> None:
        self._trajectory, self._batches, self._losses = trajectory, batches, losses
        self._rules: dict[int, Weighing] = {}

    def at(self, index: int) -> Weights:
        """Return the weights of the micro-batches of a step: told, else measured; () where their mean is the loss."""
        return self._trajectory.micro_batch_weights(index) or self.measured(index)

    def measured(self, index: int) -> Weights:
        """Return the weights that were measured, whatever was told; () where nothing is known of them."""
        job = bisect_right(self._starts, index) - 1
        seen, several = self._trajectory.differentiated(index), self._several[job]
        sizes = self._trajectory.micro_batch_sizes(index) if several or seen else ()
        if not seen and len(sizes) != 1:
            return ()
        rule = self._rule(job)
        # Of a single one whose loss was differentiated as it is nothing is kept.
        return rule(MicroBatches(tuple(factor for _, factor in seen) or (1.0,), sizes, self._batches(index)))

    def by_value(self, index: int) -> Weights:
        """Return R/L of each micro-batch of a step whose state was stored, infinite where that says nothing."""
        seen = self._trajectory.differentiated(index)
        return tuple(r / own if own else inf for (r, _), own in zip(seen, self._losses(index), strict=True))

    @cached_property
    def _several(self) -> list[bool]:
        """Whether a step of each run has more than one micro-batch."""
        return [bool(self._counts(job).max() > 1) for job in range(len(self._starts))]

    @cached_property
    def _starts(self) -> list[int]:
        return [job.start for job in self._trajectory.jobs if job.start < job.stop]

    def _counts(self, job: int) -> NDArray[np.int64]:
        """Return the number of micro-batches of each step of a run."""
        start, *stop = self._starts[job : job + 2]
        counts: NDArray[np.int64] = self._all_counts[start : stop[0] if stop else None]
        return counts

    @cached_property
    def _all_counts(self) -> NDArray[np.int64]:
        return self._trajectory.steps["micro_batch_count"].to_numpy()

    def _rule(self, job: int) -> Weighing:
        if job not in self._rules:
            found = [
                Measured(self.by_value(t), MicroBatches(tuple(factor for _, factor in seen), sizes, self._batches(t)))
                for t in self._probes(job)
                if (seen := self._trajectory.differentiated(t)) and (sizes := self._trajectory.micro_batch_sizes(t))
            ]
            self._rules[job] = explaining(found) or (lambda m: m.factors)
        return self._rules[job]

    def _probes(self, job: int) -> list[int]:
        """Return the steps of a run at which is measured."""
        start, counts = self._starts[job], self._counts(job)
        chosen: dict[int, int] = {}
        for t in self._trajectory.checkpoints:
            if start <= t < start + len(counts):
                chosen.setdefault(int(counts[t - start]), t)
        several = [t for count, t in chosen.items() if count > 1]
        return (several or list(chosen.values()))[:_PROBES]
