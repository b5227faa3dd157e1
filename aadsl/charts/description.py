"""A chart in words, for those who cannot see it: what its extremes are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from aadsl.charts import words
from aadsl.charts.frame import behaviors

MOST = 3
"""Behaviors of which the extremes are told."""


def extremes_in_words(dataset: xr.Dataset) -> str:
    """Return which stage and which step has the largest and the smallest effect on each behavior."""
    names = behaviors(dataset) if "behavior" in dataset.dims else []
    told = [part for name in names[:MOST] for part in _extremes(dataset.sel(behavior=name), name)]
    more = [f"{len(names) - MOST} more behaviors are shown."] if len(names) > MOST else []
    return " ".join([*told, *more]) if told else ""


def _extremes(one: xr.Dataset, behavior: str) -> Iterator[str]:
    """Say of one behavior which stages, and which steps, stand out."""
    best = one["retrained_effect"].fillna(one["effect"]) if "retrained_effect" in one and "effect" in one else None
    of_stages = best if best is not None else one.get("effect", one.get("retrained_effect"))
    for effects, axis in ((of_stages, "stage"), (one.get("step_effect"), "step")):
        if effects is None or axis not in effects.dims or not np.isfinite(effects).any():
            continue
        values, labels = effects.to_numpy().astype(float), effects[axis].to_numpy()
        ends = [(np.nanargmax(values), "largest"), (np.nanargmin(values), "smallest")]
        said = [
            f"{words.signed(values[place])} {which}, {axis} {labels[place]}" for place, which in ends[: len(values)]
        ]
        yield f"Effect of a {axis} on {behavior}: {'; '.join(said)}."
