"""Interventions: what is changed in the counterfactual run, by the name the language uses."""

from __future__ import annotations

from aadsl.interventions.base import Intervention, counterfactual, first_change, first_step
from aadsl.interventions.replace import Replace
from aadsl.interventions.rerun import Rerun
from aadsl.interventions.restart import Restart
from aadsl.interventions.reweight import Reweight
from aadsl.interventions.scale_lr import ScaleLr
from aadsl.interventions.skip import Skip
from aadsl.interventions.zero_gradient import ZeroGradient

__all__ = ["INTERVENTIONS", "Intervention", "Rerun", "counterfactual", "first_change", "first_step"]

INTERVENTIONS: dict[str, type[Intervention]] = {
    "skip": Skip,
    "restart": Restart,
    "zero_gradient": ZeroGradient,
    "scale_lr": ScaleLr,
    "reweight": Reweight,
    "replace": Replace,
    "rerun": Rerun,
}
