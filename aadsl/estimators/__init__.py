"""Estimators: ways to compute effects, by the name the language uses."""

from __future__ import annotations

from aadsl.estimators.base import Answer, Behavior, Cost, Estimator, Question
from aadsl.estimators.first_order import FirstOrder, require_differentiable, stage_sums
from aadsl.estimators.linearized import Linearized
from aadsl.estimators.retraining import Retraining

__all__ = [
    "ESTIMATORS",
    "Answer",
    "Behavior",
    "Cost",
    "Estimator",
    "FirstOrder",
    "Question",
    "Retraining",
    "require_differentiable",
    "stage_sums",
]

ESTIMATORS: dict[str, type[Estimator]] = {
    "first_order": FirstOrder,
    "linearized": Linearized,
    "retraining": Retraining,
}
