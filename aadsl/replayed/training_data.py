"""What the recorded indices point into: one data set, or one for each run of a chain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.data.examples import Examples
from aadsl.data.tables import coordinates, values_of
from aadsl.replayed.by_run import of_each_run
from aadsl.trajectory import Job, Trajectory


@dataclass(frozen=True)
class TrainingData:
    """The examples that each run of a trajectory was trained on.

    Attributes:
        jobs: the runs.
        parts: the examples of each, the same ones where one data set was given for all; None where none were given.
    """

    jobs: tuple[Job, ...]
    parts: tuple[Examples | None, ...]

    @classmethod
    def of(cls, data: Any, trajectory: Trajectory) -> TrainingData:
        """Return what ``data`` holds for each run: anything that examples are taken from, or a dict of such by run.

        A run goes by its name or its path: ``{"pretrain": digits, "finetune": letters}``.

        Raises:
            AadslError: examples cannot be taken from it, or a key names no run.
        """
        if isinstance(data, TrainingData):
            return data
        jobs = trajectory.jobs
        if not isinstance(data, dict):
            examples = None if data is None else Examples.of(data)
            return cls(jobs, (examples,) * len(jobs))
        given = {key: Examples.of(value) for key, value in data.items() if value is not None}
        return cls(jobs, tuple(of_each_run("data", given, jobs, data)))

    def at(self, step: int) -> Examples:
        """Return the examples of the run that a step belongs to.

        Raises:
            AadslError: none were given.
        """
        number = bisect_right([job.start for job in self.jobs], step) - 1
        found = self.parts[number]
        if found is None:
            entries = ", ".join(f'"{job.name}": …' for job in self.jobs)
            each = f"; for each run its own: data={{{entries}}}" if len(self.jobs) > 1 else ""
            raise AadslError(
                f"{self.jobs[number].path} was recorded by the indices of its batches, and no data were given to look "
                "them up in",
                hint=f"give data=..., the dataset that the run was trained on{each}",
            )
        return found

    @property
    def distinct(self) -> tuple[Examples, ...]:
        """The data sets, each once."""
        return tuple({id(part): part for part in self.parts if part is not None}.values())

    def coordinates(self) -> tuple[xr.Dataset, NDArray[np.int64]]:
        """Return what is known of all examples, and the position among them of the first one of each run (-1: none)."""
        distinct = self.distinct
        starts = np.cumsum([0, *map(len, distinct)])
        places = {id(part): start for part, start in zip(distinct, starts, strict=False)}
        offsets = np.array([-1 if part is None else places[id(part)] for part in self.parts], dtype=np.int64)
        if len(distinct) == 1:
            return distinct[0].coordinates, offsets
        names = dict.fromkeys(str(name) for part in distinct for name in part.coordinates.data_vars)
        readers = {name: partial(_joined, distinct, name) for name in names}
        return coordinates(readers, int(starts[-1])), offsets


def _joined(parts: Sequence[Examples], name: str) -> NDArray[Any]:
    """Return the values of a coordinate over the examples of all parts; missing where a part lacks it."""
    known = [part.coordinates[name].values if name in part.coordinates else None for part in parts]
    kinds = {values.dtype.kind for values in known if values is not None}
    # As a float, a large whole number would be another one.
    whole = "Int64" if kinds == {"i"} else "UInt64" if kinds == {"u"} else None
    absent = (pd.NA, whole) if whole else (np.nan, float)
    columns = [
        pd.Series(absent[0], range(len(part)), absent[1]) if values is None else pd.Series(values)
        for part, values in zip(parts, known, strict=True)
    ]
    return values_of(pd.concat(columns, ignore_index=True))
