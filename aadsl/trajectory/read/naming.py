"""Phases of runs in folders of one name: each is named with as much of its folder's path as tells it apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import xarray as xr


def distinct_names(folders: Sequence[str]) -> list[str]:
    """Return for each folder the shortest end of its path that no other folder has.

    >>> distinct_names(["/runs/a/seed", "/runs/b/seed", "/runs/b/other"])
    ['a/seed', 'b/seed', 'other']
    """
    parts = [PurePosixPath(folder).parts for folder in folders]
    return [_shortest(own, [other for other in parts if other != own]) for own in parts]


def _shortest(own: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    lengths = range(1, len(own))
    length = next((n for n in lengths if all(other[-n:] != own[-n:] for other in others)), len(own))
    return "/".join(own[-length:])


def with_distinct_phases(steps: xr.Dataset, folders: Sequence[str], starts: Sequence[int]) -> xr.Dataset:
    """Return the steps of runs with phases that are named after folders of one name told apart.

    A phase that was given a name keeps it, also where several runs have it. Unless folders have one name, nothing
    is read.

    Args:
        steps: what is known of each step.
        folders: the folder of each run.
        starts: the first step of each run, and the number of all steps as the last entry.
    """
    names = [PurePosixPath(folder).name for folder in folders]
    apart = distinct_names(folders)
    if "phase" not in steps or apart == names:
        return steps
    phase = steps["phase"].copy(data=np.array(steps["phase"].values, dtype=object))
    for name, label, start, stop in zip(names, apart, starts, starts[1:], strict=False):
        own = phase.values[start:stop]
        own[own == name] = label
    return steps.assign(phase=phase)
