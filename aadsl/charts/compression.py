"""An axis on which a few very large effects do not hide the others: even near zero, logarithmic beyond (symlog)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import altair as alt
import numpy as np

from aadsl.charts import words

TIMES = 30
"""How many times what most steps reach the largest must be; most then take at most 3 of the 85 pixels beside zero."""
MOST = 0.9
"""Part of the steps that are most of them."""
FEWEST = 10
"""Of fewer steps none is called an outlier."""
TICKS = 3
"""Powers of ten that are written on either side of zero."""


@dataclass(frozen=True)
class Compression:
    """A length on the axis is sign(x) · log(1 + |x| / ``constant``); ``ticks`` are the numbers written on it."""

    constant: float
    ticks: tuple[float, ...]

    @property
    def channel(self) -> dict[str, Any]:
        """The scale and the axis of a channel."""
        scale = alt.Scale(type="symlog", constant=self.constant, nice=False)
        return {"scale": scale, "axis": alt.Axis(values=list(self.ticks), format=".4~g")}


def compression(values: np.ndarray, fewest: int = FEWEST) -> Compression | None:
    """Return how to draw effects of which a few are far larger than most; None where none is.

    Args:
        values: (n,) the effects, or (n, k) all numbers that are drawn of each, such as the ends of its interval.
        fewest: of fewer effects none is called an outlier.
    """
    reach = np.fmax.reduce(np.abs(values.astype(float).reshape(len(values), -1)), axis=1)
    sizes = reach[np.isfinite(reach) & (reach != 0)]
    if len(sizes) < fewest:
        return None
    most, largest = float(np.quantile(sizes, MOST, method="lower")), float(sizes.max())
    if not largest > TIMES * most > 0:
        return None
    powers = np.arange(ceil(np.log10(most)), np.log10(largest) + 1e-9)
    written = 10.0 ** powers[:: -ceil(len(powers) / TICKS)]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ticks = [float(tick) for tick in (*-written, 0.0, *written[::-1]) if low <= tick <= high]
    return Compression(float(f"{most / 3:.1g}"), tuple(ticks))


def compressed_in_words(found: Mapping[str, Compression | None], way_out: str = "", what: str = "steps") -> str:
    """Say which behaviors have such an axis, and the way out; nothing where none has. ``what`` is drawn."""
    those = [name for name, one in found.items() if one is not None]
    if not those:
        return ""
    on = "" if len(those) == len(found) else f" of {words.quoted(those)}"
    why = f"a few {what} are over {TIMES} times as large as most"
    return f"the axis{on} is logarithmic away from zero, since {why}{way_out}"
