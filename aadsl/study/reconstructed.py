"""Answers about a run that was reconstructed from checkpoints: which gaps missed theirs, and what that does."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import xarray as xr

from aadsl.core.progress import Progress
from aadsl.estimators import Query
from aadsl.estimators.base import Floats
from aadsl.interventions import first_change
from aadsl.interventions.as_replayed import AsReplayed
from aadsl.study.exact_answers import ExactAnswers
from aadsl.study.identity import Identity
from aadsl.trajectory.store.specs import MISMATCH, Gap

NAMED = 2  # gaps that a reason names


def missed(steps: xr.Dataset, first: int, stop: int) -> str:
    """Return the gaps that steps from ``first`` on go over and that miss their checkpoint, in words; "" for none.

    Args:
        steps: what is known of the steps of the run.
        first: the first step that differs.
        stop: the step after the last one that answers are about.
    """
    if MISMATCH not in steps:
        return ""
    values = steps[MISMATCH].to_numpy()
    found, place = [], 0
    for mismatch, run in groupby(values.tolist()):
        begin, place = place, place + len(list(run))
        if mismatch and place > first and begin < stop:
            gap = Gap(begin, place, mismatch, 0.0, "")
            found.append(f"{gap.steps} by {mismatch:.2g} times the way they went")
    more = f" and {len(found) - NAMED} other gaps" if len(found) > NAMED else ""
    return f"reconstructed, and beside the next checkpoint: {', '.join(found[:NAMED])}{more}" if found else ""


def without_mismatch(
    exact: ExactAnswers, identity: Identity, query: Query, progress: Progress, *, control: bool
) -> Floats:
    """Return (S, K) how much the behaviors differ where the run goes on from where gaps end, not from checkpoints.

    Of each stage those gaps count that miss their checkpoint and that the run without it goes over. One run tells it
    for all stages that go over the same ones.
    """
    beside = [gap for gap in exact.history.trajectory.gaps if gap.verdict == "approximate"]
    length, count = query.members.shape[1], len(query.members)
    ends = np.zeros((count, length), dtype=bool)
    for s, member in enumerate(query.members):
        ends[s, [gap.stop - 1 for gap in beside if first_change(member) < gap.stop <= length]] = True
    noise = np.zeros((count, len(query.behaviors)))
    if isinstance(query.intervention, AsReplayed) or not ends.any():
        return noise
    rows, places = np.unique(ends, axis=0, return_inverse=True)
    own = rows.any(axis=1)
    effects, _, _ = exact.answer(identity, Query(rows[own], query.behaviors, AsReplayed()), progress, control=control)
    moved = np.zeros((len(rows), len(query.behaviors)))
    moved[own] = np.abs(effects.effect)
    return np.asarray(moved[places.reshape(-1)])
