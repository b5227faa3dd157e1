"""Marks where one phase of training ends and the next begins."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts.frame import rows

LABEL_LIMIT = 8
NAMES_ABOVE = 20
"""Pixels over a panel that the names of phases take."""


def phase_starts(dataset: xr.Dataset) -> pd.DataFrame:
    """Return ``step`` and ``phase`` of every phase's first step; no rows where all steps share one phase."""
    if "phase" not in dataset.variables:
        return pd.DataFrame({"step": [], "phase": []})
    phase = dataset["phase"].values.astype(str)
    first = np.flatnonzero(np.r_[True, phase[1:] != phase[:-1]]) if len(phase) else np.array([], int)
    if len(first) < 2:
        first = first[:0]
    return pd.DataFrame({"step": dataset["step"].values[first], "phase": phase[first]})


def phase_marks(dataset: xr.Dataset) -> list[Any]:
    """Return the layers that mark phases: a dashed line half a step before each, its name above the panel."""
    starts = phase_starts(dataset)
    if starts.empty:
        return []
    base = alt.Chart(rows(starts.assign(at=starts["step"] - 0.5)))
    x = alt.X("at:Q")
    lines = base.transform_filter(f"datum.step > {int(starts['step'].iloc[0])}").mark_rule(style="boundary").encode(x=x)
    if len(starts) > LABEL_LIMIT:
        return [lines.encode(tooltip=[alt.Tooltip("phase:N"), alt.Tooltip("step:Q", title="from step")])]
    names = base.mark_text(style="note", align="left", baseline="bottom", dx=3, dy=-3, limit=140)
    return [lines, names.encode(x=x, y=alt.value(0), text="phase:N")]
