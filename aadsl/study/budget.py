"""The budget of an answer: how much of it is left, and which stages it is spent on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.core.units import in_words
from aadsl.estimators import Query
from aadsl.estimators.base import Floats
from aadsl.propagation import NotFiniteError
from aadsl.study.intervals import FEWEST


@dataclass(frozen=True)
class TimeBudget:
    """So many seconds from now on."""

    seconds: float
    _begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return max(0.0, self.seconds - (time.monotonic() - self._begun))

    def __str__(self) -> str:
        return f"the budget of {in_words(self.seconds)}"


def allotted(estimates: Floats, seconds: Floats, left: float, seed: int = 0) -> NDArray[np.bool_]:
    """Return (S,) the stages that are answered exactly: as many as ``left`` seconds allow, of ``seconds`` (S,) each.

    Where they are enough for intervals, so many are drawn at random first; the others are those whose estimates (S, K)
    are largest, beside the typical ones of their behavior.
    """
    typical = np.median(np.abs(estimates), axis=0) + np.finfo(float).tiny
    largest = np.argsort(-(np.abs(estimates) / typical).max(axis=1), kind="stable")
    drawn = np.random.default_rng(seed).permutation(len(estimates))[:FEWEST]
    if len(estimates) <= FEWEST or seconds[drawn].sum() > left:
        drawn = drawn[:0]
    chosen = np.zeros(len(estimates), dtype=bool)
    for s in [*drawn, *largest]:
        if not chosen[s] and seconds[s] <= left:
            chosen[s] = True
            left -= seconds[s]
    return chosen


def unestimable(error: NotFiniteError, seconds: float) -> AadslError:
    """Return what is said where no estimate is finite: the exact answer with its price."""
    needed = in_words(seconds)
    hint = f"the exact answer takes about {needed}: allow that by within={needed!r}, or using retraining()"
    return AadslError(error.problems[0].message, hint=hint)


def unaffordable(query: Query, seconds: float, budget: TimeBudget, why: str) -> AadslError:
    """Return what is said where the budget does not cover the exact answer, which a behavior needs, or all do.

    ``why`` is in words why nothing can be estimated of the run; "" where that is a behavior's.
    """
    needed = in_words(seconds)
    also = ""
    if not why:
        name = next(behavior.name for behavior in query.behaviors if not behavior.differentiable)
        why, also = f'behavior "{name}" has no gradient', "; or ask about a smooth behavior such as margin"
    return AadslError(
        f"{why}, so it takes exact answers: about {needed}, more than {budget}",
        hint=f"allow that: using retraining(), or within={needed!r}{also}",
    )
