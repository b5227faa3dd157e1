"""Answers as tables: for other programs, and for who goes on in pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FIRST = (
    "rank", "ranked", "ranked_effect", "ranked_exact", "ranked_trust", "stage", "behavior", "share", "share_low",
    "share_high", "effect", "retrained_effect", "unit", "effect_low", "effect_high", "exact", "trust", "trust_reason",
    "observed", "counterfactual",
)  # fmt: skip
"""Columns in the order in which one reads them."""


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return one row for each stage and behavior (and example), or for each step where no stage was asked about."""
    wide = {"stage", "behavior", "example"} if "stage" in dataset.dims else {"step", "behavior"}
    chosen = [name for name, v in dataset.data_vars.items() if set(map(str, v.dims)) <= wide and v.dims]
    if "example_effect" not in dataset:
        wide -= {"example"}
    return dataset[chosen].to_dataframe().reset_index()


def tidy(dataset: xr.Dataset) -> pd.DataFrame:
    """Return one row for each stage and behavior, or of an answer that ranks, for each rank and behavior.

    The columns are called as in the answer: ``effect``, ``unit``, the ends of its interval ``effect_low`` and
    ``effect_high``, ``exact``, ``trust``, ``trust_reason`` …; ``counterfactual`` is the behavior without the stage.
    """
    rows = ["rank" if "ranked" in dataset else "stage", "behavior"]
    if "observed" in dataset and "effect" in dataset:
        best = dataset["effect"]
        if "retrained_effect" in dataset:
            best = dataset["retrained_effect"].fillna(best)
        dataset = dataset.assign(counterfactual=dataset["observed"] - best)
    chosen = [name for name, v in dataset.data_vars.items() if v.dims and set(map(str, v.dims)) <= {*rows}]
    frame = dataset[chosen].reset_coords(drop=True).to_dataframe(dim_order=rows).reset_index()
    first = [name for name in FIRST if name in frame]
    return frame[[*first, *(name for name in frame if name not in first)]]
