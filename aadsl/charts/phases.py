"""Marks where one phase of training ends and the next begins."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts.frame import rows
from aadsl.charts.texts import labels

MOST = 8
"""More phases than these are not named."""
LABEL = 20
"""Letters of a name."""
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
    few = len(starts) <= MOST
    label = starts["phase"].map(labels(starts["phase"], LABEL)) if few else ""
    base = alt.Chart(rows(starts.assign(at=starts["step"] - 0.5, label=label)))
    x = alt.X("at:Q")
    lines = base.transform_filter(f"datum.step > {int(starts['step'].iloc[0])}").mark_rule(style="boundary").encode(x=x)
    if not few:
        return [lines.encode(tooltip=[alt.Tooltip("phase:N"), alt.Tooltip("step:Q", title="from step")])]
    texts = base.mark_text(style="note", align="left", baseline="bottom", dx=3, dy=-3)
    return [lines, texts.encode(x=x, y=alt.value(0), text="label:N")]
