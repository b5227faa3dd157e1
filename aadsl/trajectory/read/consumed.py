"""What is known of the examples that the steps consumed, all runs joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from aadsl.core.errors import AadslError
from aadsl.trajectory.read.run import RecordedRun
from aadsl.trajectory.store.columns import Columns, StoredColumn, concatenate

# Their number is all that there is in the file, however large it is.
_MOST_UNKNOWN = 10_000_000


def examples_dataset(runs: Sequence[RecordedRun], starts: Sequence[int]) -> xr.Dataset:
    """Return one row for each example of each batch, over dimension ``example``, in the order of training.

    Variables are ``step``, ``index`` (the position in the data set, -1 where unknown) and the metadata that was given
    for single examples. ``starts`` are the numbers of the first steps of ``runs``.
    """
    parts = [part for run, start in zip(runs, starts, strict=False) for part in _parts(run, start)]
    joined = concatenate(parts, [{"example": len(part["step"].values)} for part in parts])
    if "step" not in joined:
        joined["step"] = StoredColumn("example", np.empty(0, dtype=np.int64))
    return xr.Dataset({name: ("example", column.values, column.attributes) for name, column in joined.items()})


def _parts(run: RecordedRun, start: int) -> list[Columns]:
    parts = []
    for loaded in run.batches.all():
        known = any(column.dimension == "example" for column in loaded.columns.values())
        sizes = loaded.columns["row_size"].values.astype(np.int64)
        count = sum(sizes.tolist())
        if not known and count > _MOST_UNKNOWN:
            raise AadslError(
                f"{run.source.path}: nothing is known of {count:,} examples but how many there were",
                hint="trajectory.steps.batch_size says how many each step had",
            )
        steps = np.repeat(loaded.columns["step"].values.astype(np.int64), sizes)
        committed = steps < run.length
        part = {
            "step": StoredColumn("example", steps[committed] + start, {"long_name": "step that consumed the example"})
        }
        for name, column in loaded.columns.items():
            if column.dimension == "example":
                part[name] = StoredColumn("example", column.values[committed], column.attributes)
        parts.append(part)
    return parts
