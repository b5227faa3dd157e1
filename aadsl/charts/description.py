"""A chart in words, for those who cannot see it: what its extremes are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import xarray as xr

from aadsl.charts.frame import behaviors
from aadsl.charts.texts import shown
from aadsl.core.numbers import signed

MOST = 3
"""Behaviors of which the extremes are told."""
Drawn = Literal["effects of stages", "effects of steps", "shares", "no effects"]
"""What a chart draws, of which the extremes are told."""


def extremes_in_words(dataset: xr.Dataset, drawn: Drawn) -> str:
    """Return which stage, or which step, has the largest and the smallest effect or share on each behavior."""
    if drawn == "no effects":
        return ""
    names = behaviors(dataset) if "behavior" in dataset.dims else []
    told = [part for name in names[:MOST] for part in _extremes(dataset.sel(behavior=name), name, drawn)]
    more = [f"{len(names) - MOST} more behaviors are shown."] if len(names) > MOST else []
    return " ".join([*told, *more]) if told else ""


def _extremes(one: xr.Dataset, behavior: str, drawn: Drawn) -> Iterator[str]:
    """Say of one behavior which stages, or which steps, stand out; nothing where no number is known of any."""
    numbers = _numbers(one, drawn)
    if numbers is None or not np.isfinite(numbers).any():
        return
    (axis,) = numbers.dims
    values, labels = numbers.to_numpy().astype(float), numbers[axis].to_numpy()
    ends = [(np.nanargmax(values), "largest"), (np.nanargmin(values), "smallest")][: len(values)]
    said = "; ".join(f"{signed(values[place])} {which}, {axis} {shown(str(labels[place]))}" for place, which in ends)
    what = f"Share of a {axis} in" if drawn == "shares" else f"Effect of a {axis} on"
    yield f"{what} {shown(behavior)}: {said}."


def _numbers(one: xr.Dataset, drawn: Drawn) -> xr.DataArray | None:
    """Return the numbers over stages or steps; of stages the exact effects where they are known."""
    if drawn != "effects of stages":
        return one.get("share" if drawn == "shares" else "step_effect")
    if "retrained_effect" in one and "effect" in one:
        return one["retrained_effect"].fillna(one["effect"])
    return one.get("effect", one.get("retrained_effect"))
