"""Fewer marks, the same picture: of every slice of the axis, keep the steps that reach furthest.

A bar chart of 100,000 steps on 640 pixels draws about 156 bars on each pixel column; what the eye sees is the column's
largest and its smallest value. Keeping exactly those two steps of every slice (for every color) draws the same picture,
and every mark that is left is a real step with its own metadata, not an average.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

SLICES = 640
FEWEST = 60
"""No fewer slices are drawn; the picture is coarse then."""
AFFORDED = 170_000
"""Bytes of a chart's marks: with all that is around them a notebook keeps less than 300 kB of it."""


def affordable(size: Callable[[int], int], most: int = AFFORDED, fewest: int = FEWEST) -> int:
    """Return in how many slices marks take no more than ``most``, in as many as may be.

    Args:
        size: how much they take for a number of slices; the more, the more.
        most: how much they may take.
        fewest: what is returned at least.
    """
    slices = SLICES
    while slices > fewest and (taken := size(slices)) > most:
        slices = max(fewest, min(slices - 1, slices * most // taken))
    return slices


def extremes(frame: pd.DataFrame, value: str, group: str | None = None, slices: int = SLICES) -> pd.DataFrame:
    """Keep, for each of ``slices`` equal slices of ``step`` and each ``group``, the rows with the extreme ``value``.

    A frame with no more steps than slices is returned as it is. Rows keep their order.
    """
    if len(frame) <= slices:
        return frame
    keys = [slice_numbers(frame["step"].to_numpy(), slices)]
    if group is not None:
        keys.append(frame[group].to_numpy())
    grouped = frame[value].dropna().groupby([pd.Series(key, frame.index) for key in keys], sort=False)
    keep = np.union1d(grouped.idxmax().to_numpy(), grouped.idxmin().to_numpy())
    return frame.loc[keep]


def outline(frame: pd.DataFrame, value: str, slices: int = SLICES) -> pd.DataFrame:
    """Keep what a line needs: of every slice of ``step`` the first, last, smallest and largest row."""
    numbers = slice_numbers(frame["step"].to_numpy(), slices) if len(frame) else np.zeros(0, dtype=int)
    if np.bincount(numbers, minlength=1).max() <= 4:
        return frame
    slice_of = pd.Series(numbers, frame.index)
    index = pd.Series(frame.index, frame.index).groupby(slice_of, sort=False)
    values = frame[value].dropna().groupby(slice_of, sort=False)
    parts = (index.first(), index.last(), values.idxmin(), values.idxmax())
    return frame.loc[np.unique(np.concatenate([part.to_numpy() for part in parts]))]


def slice_numbers(steps: np.ndarray, slices: int) -> np.ndarray:
    """Return, for each step, the number of the slice it falls in, from 0 to ``slices`` − 1."""
    first, last = int(steps.min()), int(steps.max()) + 1
    return (steps - first) * slices // max(1, last - first)
