"""What is known of the effects that a query asks for, and what it costs to know them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aadsl.estimators import Effects, Estimator, Query
from aadsl.estimators.base import Floats
from aadsl.study.evidence import Bounds

UNCOMPARED = "uncompared"  # attribute of an answer: the steps whose replay was compared with nothing


@dataclass
class Outcome:
    """What is known of the effects that a query asks for.

    Attributes:
        method: what answered those that are not exact; retraining where all are.
        effects: the effects, exact ones and estimates.
        exact: (S,) the stages that were trained again.
        noise: (S, K) noise floor of exact effects, zero elsewhere.
        bounds: 90% intervals of the estimates; NaN elsewhere, and where too few exact answers are known.
        by: what answered, in words.
        notes: attributes of the answer.
        present: (S,) the stages of which a step came before the model that is asked about; None where all are.
        repeats: how many trainings without a stage an exact effect is the mean of.
    """

    method: Estimator
    effects: Effects
    exact: NDArray[np.bool_]
    noise: Floats
    bounds: Bounds
    by: str
    notes: dict[str, str] = field(default_factory=dict)
    present: NDArray[np.bool_] | None = None
    repeats: int = 1


class Price(NamedTuple):
    """Seconds that exact answers take: (S,) each of the ``stages``, and the ``control`` run before them."""

    stages: Floats
    control: float

    @property
    def total(self) -> float:
        """Seconds for all of them."""
        return float(self.stages.sum()) + self.control


def no_bounds(query: Query) -> Bounds:
    """Return bounds that say nothing."""
    shape = (len(query.members), len(query.behaviors))
    return Bounds(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=np.int64))


def counted(stages: int) -> str:
    """Return a number of stages in words."""
    return f"{stages} {'stage' if stages == 1 else 'stages'}"
