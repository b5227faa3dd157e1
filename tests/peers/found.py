"""What methods answered, and how close that is to the truths."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.benchmarks.fidelity import agreement


class Fidelity(NamedTuple):
    """How close scores are to the truth: two correlations, the slope, ‖scores − truth‖ / ‖truth‖."""

    pearson: float
    spearman: float
    slope: float
    error: float


def fidelity(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> Fidelity:
    r, slope, error = agreement(scores, truth)
    ranks = [pd.Series(values).rank().to_numpy() for values in (scores, truth)]
    return Fidelity(r, float(np.corrcoef(*ranks)[0, 1]), slope, error)


@dataclass(frozen=True)
class Answer:
    """What one method said on one task, or why it said nothing.

    Attributes:
        fidelity: by behavior and truth.
        cost: the processor's seconds, training included, as a ratio to plain training.
        memory: bytes of the peak beyond that of plain training in the same process.
        reason: why there is no answer.
    """

    task: str
    seed: int
    peer: str
    method: str
    fidelity: dict[tuple[str, str], Fidelity] = field(default_factory=dict)
    cost: float = float("nan")
    memory: float = float("nan")
    reason: str = ""

    @classmethod
    def of(cls, task: str, seed: int, peer: str, method: str, found: dict[str, Any]) -> Answer:
        """Return an answer that was kept."""
        close = {(behavior, truth): Fidelity(*figures) for behavior, truth, *figures in found["fidelity"]}
        return cls(task, seed, peer, method, close, found["cost"], found["memory"])


@dataclass(frozen=True)
class Answers:
    """All answers of a run of this command; figures are medians over its seeds. ``days``: when peers were asked."""

    all: list[Answer]
    days: str = ""

    def of(self, task: str, peer: str, method: str) -> list[Answer]:
        """Return the answers of a method on a task, those without one left out."""
        return [a for a in self.all if (a.task, a.peer, a.method) == (task, peer, method) and not a.reason]

    def fidelity(self, task: str, peer: str, method: str, behavior: str, truth: str) -> Fidelity | None:
        found = [answer.fidelity[behavior, truth] for answer in self.of(task, peer, method)]
        return Fidelity(*map(median, zip(*found, strict=True))) if found else None

    def cost(self, task: str, peer: str, method: str) -> float | None:
        return median(found) if (found := [answer.cost for answer in self.of(task, peer, method)]) else None

    def memory(self, task: str, peer: str, method: str) -> float | None:
        return median(found) if (found := [answer.memory for answer in self.of(task, peer, method)]) else None

    @property
    def behaviors(self) -> list[tuple[str, str]]:
        """Return each task with each of its behaviors."""
        return list(dict.fromkeys((a.task, behavior) for a in self.all for behavior, _ in a.fidelity))

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(answer.task for answer in self.all))

    @property
    def seeds(self) -> list[int]:
        return sorted({answer.seed for answer in self.all})
