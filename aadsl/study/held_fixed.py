"""What a replay takes as it was recorded although the model decided it, so that training anew would differ."""

from __future__ import annotations

import xarray as xr

from aadsl.trajectory.store.specs import DECIDED


def held_fixed(steps: xr.Dataset, first: int) -> str:
    """Return what the model decided from step ``first`` on, in words; "" where nothing is known of that kind."""
    if DECIDED not in steps:
        return ""
    texts = dict.fromkeys(str(text) for text in steps[DECIDED].values[first:])
    return " and ".join(dict.fromkeys(what for text in texts for what in text.split(", ") if what))
