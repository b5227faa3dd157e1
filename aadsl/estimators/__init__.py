"""Estimators: ways to compute effects, by the name the language uses."""

from __future__ import annotations

from aadsl.estimators.additive import Additive, StepEffects, stage_sums
from aadsl.estimators.auto import DEFAULT_BUDGET, Auto
from aadsl.estimators.base import Behavior, Cost, Effects, Estimator, Query, require_estimable
from aadsl.estimators.blocks import Blocks
from aadsl.estimators.dvemb import Dvemb
from aadsl.estimators.first_order import FirstOrder
from aadsl.estimators.linearized import Linearized
from aadsl.estimators.retraining import Retraining
from aadsl.estimators.tracin import Tracin

__all__ = [
    "DEFAULT_BUDGET",
    "ESTIMATORS",
    "Additive",
    "Auto",
    "Behavior",
    "Blocks",
    "Cost",
    "Dvemb",
    "Effects",
    "Estimator",
    "FirstOrder",
    "Linearized",
    "Query",
    "Retraining",
    "StepEffects",
    "Tracin",
    "require_estimable",
    "stage_sums",
]

ESTIMATORS: dict[str, type[Estimator]] = {
    "first_order": FirstOrder,
    "blocks": Blocks,
    "linearized": Linearized,
    "retraining": Retraining,
    "auto": Auto,
    "dvemb": Dvemb,
    "tracin": Tracin,
}
