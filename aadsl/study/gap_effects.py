"""What the mismatch of each gap of a reconstruction does to behaviors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress
from aadsl.estimators import Behavior, Query
from aadsl.interventions.as_replayed import AsReplayed
from aadsl.study.answering import Answering

FIELDS = ("start", "stop", "mismatch", "explained", "verdict", "remark")


def gap_effects(answering: Answering, behaviors: tuple[Behavior, ...], progress: Progress) -> xr.Dataset:
    """Return over ``gap``, and ``behavior``, how far each ends from its checkpoint, and what that alone does.

    Raises:
        AadslError: the run was not reconstructed, or its trajectory fails.
    """
    history = answering.history
    gaps = [gap for gap in history.trajectory.gaps if gap.stop <= history.length]
    if not gaps:
        hint = "only what aadsl.reconstruct(…) trained again between checkpoints has gaps"
        raise AadslError(f"{history.trajectory.path} was recorded while it was trained", hint=hint)
    effect, beside = np.zeros((len(gaps), len(behaviors))), [gap.verdict == "approximate" for gap in gaps]
    if any(beside):
        ends = np.array([gap.stop - 1 for gap in gaps])[beside]
        members = np.equal.outer(ends, np.arange(history.length))
        own = tuple(replace(behavior, per_example=False) for behavior in behaviors)
        query = Query(members, own, AsReplayed())
        identity = answering.identity(progress, own)
        effect[beside] = answering.exactly(identity, query, progress).effects.effect
    columns = {name: ("gap", [getattr(gap, name) for gap in gaps]) for name in FIELDS}
    described = {"long_name": "behavior(observed) - behavior(had the run gone on from where the gap ended)"}
    named = {"gap": [gap.steps for gap in gaps], "behavior": [behavior.name for behavior in behaviors]}
    return xr.Dataset({**columns, "effect": (("gap", "behavior"), effect, described)}, named)
