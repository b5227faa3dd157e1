"""What runs and their tensors are called where several are seen as one.

Phases of runs in folders of one name are named with as much of the folder's path as tells them apart. Tensors have the
names that they have without adapters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
import xarray as xr

ADDED = re.compile(r"^base_model\.model\.|\.base_layer(?=\.)|\.modules_to_save\.[^.]+(?=\.)")
"""What PEFT adds to the names of a model's parameters."""


def without_peft(name: str) -> str:
    """Return the name that a tensor of a model of PEFT has in the model without it."""
    return ADDED.sub("", name)


def called(runs: Sequence[Iterable[str]]) -> list[dict[str, str]]:
    """Return for each run what its tensors, by the names that they have in it, are called among all runs.

    >>> called([["body.weight"], ["base_model.model.body.base_layer.weight"]])[1]
    {'base_model.model.body.base_layer.weight': 'body.weight'}
    """
    # PEFT keeps a module beside its trained copy, and does not use it.
    runs = [[name for name in names if ".original_module." not in name] for names in runs]
    plain = {name for names in runs for name in names if not ADDED.search(name)}
    found = []
    for names in runs:
        bare = {name: without_peft(name) for name in names}
        times = Counter(bare.values())
        found.append({name: one if one in plain and times[one] == 1 else name for name, one in bare.items()})
    return found


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
