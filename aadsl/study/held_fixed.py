"""What a replay takes as it was recorded although the model decided it, so that training anew would differ."""

from __future__ import annotations

import xarray as xr

from aadsl.interventions import Intervention, Rerun
from aadsl.trajectory.store.specs import DECIDED, DECLARED, PLATEAU


def held_fixed(steps: xr.Dataset, first: int, intervention: Intervention) -> str:
    """Return what the model decided from step ``first`` on, in words, and does not decide anew under an intervention.

    "" where nothing is known of that kind.
    """
    if DECIDED not in steps:
        return ""
    texts = dict.fromkeys(str(text) for text in steps[DECIDED].values[first:])
    decided = dict.fromkeys(what for text in texts for what in text.split(", ") if what)
    return " and ".join(what for what in decided if what not in _decided_anew(intervention))


def _decided_anew(intervention: Intervention) -> list[str]:
    if not isinstance(intervention, Rerun):
        return []
    made = (DECLARED, intervention.batch_fn), (PLATEAU, intervention.scheduler)
    return [what for what, by in made if by is not None]
