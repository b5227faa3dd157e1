"""A whole run in one file: every file of the folder as a group of the same name, without ``.nc``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from aadsl.core.errors import AadslError
from aadsl.core.files import expanded, place_for
from aadsl.trajectory.read.naming import distinct_names
from aadsl.trajectory.read.source import FOLDER, RUN_GROUP, RunSource
from aadsl.trajectory.store import header
from aadsl.trajectory.store.files import commit
from aadsl.trajectory.store.segments import cover, segments_in, state_name, states_in


def write_single_file(to: str | os.PathLike[str], sources: Sequence[RunSource]) -> None:
    """Copy all runs, bit by bit, into the groups ``run-0``, ``run-1`` … of one sealed netCDF-4 file.

    Raises:
        AadslError: the path is no place for one, or the disk refuses it.
    """
    path = expanded(to)
    if path.suffix != ".nc":
        raise AadslError(f"{path} does not end in .nc", hint=f"write to {path.with_name(path.name + '.nc')}")

    def write(dataset: Any) -> None:
        for number, (source, name) in enumerate(zip(sources, distinct_names([s.folder for s in sources]), strict=True)):
            run = dataset.createGroup(f"{RUN_GROUP}{number}")
            run.setncattr(FOLDER, name)
            for name in _true_files(source):
                with source.open(name) as original:
                    copy_group(original, run.createGroup(name.removesuffix(".nc")))

    place = place_for(path, whole_run=True)
    attributes = {"title": "recorded training runs, a file of each as a group", "runs": len(sources)}
    try:
        commit(place, attributes, write, _WHOLE)
    except OSError as error:
        hint = "make room, or write it somewhere else"
        raise AadslError(f"{path} cannot be written: {error.strerror or error}", hint=hint) from error


# Always on disk: a run may be larger than memory.
_WHOLE = 1 << 62


def _true_files(source: RunSource) -> list[str]:
    """Return the names of the files that count: no parts of an interrupted merge."""
    names = source.names()
    segments = [s.name for kind in ("steps", "batches") for s in cover(segments_in(names, kind))]
    return [header.NAME, *segments, *(state_name(step) for step in states_in(names))]


def copy_group(original: Any, target: Any) -> None:
    """Copy dimensions, attributes and variables as they are stored."""
    target.setncatts({key: original.getncattr(key) for key in original.ncattrs()})
    for name, dimension in original.dimensions.items():
        target.createDimension(name, len(dimension))
    for name, variable in original.variables.items():
        compression: dict[str, Any] = {}
        if variable.dtype is not str and (variable.filters() or {}).get("zlib"):
            compression = {"compression": "zlib", "complevel": 1, "shuffle": True, "chunksizes": variable.chunking()}
        made = target.createVariable(name, variable.dtype, variable.dimensions, **compression)
        if variable.dtype is not str:
            made.set_auto_maskandscale(False)
        made.setncatts({key: variable.getncattr(key) for key in variable.ncattrs()})
        if variable.size:
            made[...] = variable[...]
