"""Which stages and families of an answer have steps in common, in words: their effects do not add up."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from aadsl.core.families import family_of

if TYPE_CHECKING:
    import xarray as xr

NAMED = 3
"""Overlaps that are named."""


def overlap_in_words(dataset: xr.Dataset) -> str:
    """Return a sentence that names what overlaps, families as one; nothing where no step is in two stages."""
    if "member" not in dataset or "stage" not in dataset.dims:
        return ""
    members = dataset["member"].transpose("stage", "step").to_numpy().astype(bool)
    if not (members.sum(axis=0) > 1).any():
        return ""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(map(str, dataset["stage"].to_numpy())):
        rows.setdefault(family_of(name) or name, []).append(row)
    held = {name: members[own] for name, own in rows.items()}
    found = [f"stages of {name}" for name, own in held.items() if (own.sum(axis=0) > 1).any()]
    found += [f"{a} and {b}" for a, b in combinations(held, 2) if (held[a].any(axis=0) & held[b].any(axis=0)).any()]
    more = [f"{len(found) - NAMED} pairs more"] if len(found) > NAMED else []
    return f"steps in common: {'; '.join([*found[:NAMED], *more])}; effects of stages that overlap do not add up"
