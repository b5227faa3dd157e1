"""One row for each stage and behavior: estimate, truth, spread over examples, trust."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts.frame import behaviors, stages_of
from aadsl.charts.needs import EFFECTS, demand

LOW_TRUST = "low trust"
SPREAD = (0.1, 0.9)


def answer_table(dataset: xr.Dataset, by: str | None = None) -> pd.DataFrame:
    """Return stage, behavior and what is known of ``effect``, ``retrained``, ``low``, ``high``, ``trust``, ``reason``.

    ``low`` and ``high`` bound the middle 80% of the examples' effects. Where only the exact effect was asked for,
    it takes the place of the estimate.
    """
    demand(dataset, "this chart", [EFFECTS])
    chosen = dataset.sel(stage=stages_of(dataset, by))
    frame = pd.DataFrame(
        [(stage, behavior) for stage in stages_of(chosen, None) for behavior in behaviors(chosen)],
        columns=["stage", "behavior"],
    )
    for column, variable in (("effect", "effect"), ("retrained", "retrained_effect")):
        if variable in chosen:
            frame[column] = _flat(chosen[variable]).astype(float)
    if "effect" not in frame:
        frame["effect"] = frame.pop("retrained")
    if "example_effect" in chosen:
        each = chosen["example_effect"].transpose("stage", "behavior", "example").values
        known = np.isfinite(each).sum(axis=-1) > 1
        for column, share in zip(("low", "high"), SPREAD, strict=True):
            bound = np.full(known.shape, np.nan)
            bound[known] = np.nanquantile(each[known], share, axis=-1)
            frame[column] = bound.ravel()
    for column, variable in (("trust", "trust"), ("reason", "trust_reason")):
        if variable in chosen:
            frame[column] = _flat(chosen[variable]).astype(str)
    frame["mark"] = np.where(frame["trust"] == "low", LOW_TRUST, "") if "trust" in frame else ""
    return frame


def _flat(array: xr.DataArray) -> np.ndarray:
    return array.transpose("stage", "behavior").values.ravel()
