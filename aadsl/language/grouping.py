"""Families: one mask for each value of a coordinate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aadsl.core.scalars import member_name
from aadsl.language.columns import Column

Mask = NDArray[np.bool_]
LIMIT = 256
"""More members than this are a mistake, such as a family by the loss."""


def grouped(column: Column, inside: Mask) -> dict[str, Mask]:
    """Return where each value of ``column`` is found ``inside``; text in order of appearance, numbers ascending.

    Where there are too many values the masks are all empty: their number is what counts.
    """
    inside = inside & column.known
    values, first = np.unique(column.values[inside], return_index=True)
    if column.kind == "text":
        values = values[np.argsort(first)]
        keys = [column.categories[code] for code in values]
    else:
        keys = [member_name(value) for value in values]
    if len(keys) > LIMIT:
        return dict.fromkeys(keys, np.zeros_like(inside))
    return {key: inside & (column.values == value) for key, value in zip(keys, values, strict=True)}
