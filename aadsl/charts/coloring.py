"""Which names have a color of their own: each color is given once, and those with the largest effects come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from aadsl.charts import theme


@dataclass(frozen=True)
class Coloring:
    """The legend of a chart that colors by name.

    Attributes:
        colors: name → color, in the order of the legend, with ``rest`` at its end.
        rest: what all names without a color of their own are called together, "28 more"; empty where each has one.
    """

    colors: dict[str, str]
    rest: str = ""

    def shown(self, name: str) -> str:
        """Return what ``name`` is called in the legend."""
        return name if name in self.colors else self.rest


def colored(names: Sequence[str], effects: np.ndarray) -> Coloring:
    """Give each of ``names`` a color; of more than the palette has, those that reach furthest, in their order.

    Args:
        names: what is colored.
        effects: (n, K) the effect of each on each behavior; read where there are too many names.
    """
    most = len(theme.STAGES)
    chosen = [names[k] for k in furthest(effects, most)] if len(names) > most else list(names)
    colors = dict(zip(chosen, theme.STAGES, strict=False))
    count = len(names) - len(chosen)
    rest = f"{count:,} more" if count else ""
    while rest in names:
        rest = f"and {rest}"
    return Coloring(colors | ({rest: theme.MORE} if rest else {}), rest)


def furthest(effects: np.ndarray, most: int) -> np.ndarray:
    """Return the rows of ``effects`` (n, K) with the largest values, in their order.

    Columns have different units, so each is measured by its own largest value.
    """
    sizes = np.abs(np.nan_to_num(effects, posinf=0.0, neginf=0.0))
    scale = sizes.max(axis=0, initial=0.0)
    reach = (sizes / np.where(scale > 0, scale, 1.0)).max(axis=1, initial=0.0)
    return np.sort(np.argsort(-reach, kind="stable")[:most])


def effects_by_group(dataset: xr.Dataset, numbers: np.ndarray, count: int) -> np.ndarray:
    """Return (count, behavior) the sums of the effects of the steps that each group number (step,) stands beside.

    Where no effects of single steps are known, they are zero; a number of −1 is none.
    """
    if "step_effect" not in dataset:
        return np.zeros((count, 0))
    each = np.nan_to_num(dataset["step_effect"].transpose("behavior", "step").to_numpy().astype(float))
    known = numbers >= 0
    return np.stack([np.bincount(numbers[known], one[known], count) for one in each], axis=1)
