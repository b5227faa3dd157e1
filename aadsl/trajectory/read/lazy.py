"""Columns of several segments as one lazily read xarray Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from aadsl.trajectory.read.rules import layout_of_steps, require
from aadsl.trajectory.read.source import RunSource
from aadsl.trajectory.store.columns import column_names, common_dtype, missing, read_column
from aadsl.trajectory.store.segments import Segment
from aadsl.trajectory.store.specs import MISMATCH, Gap


class Part(NamedTuple):
    """A segment in its file, and the dtypes and attributes of its columns over ``step``."""

    source: RunSource
    segment: Segment
    dtypes: dict[str, np.dtype[Any]]
    attributes: dict[str, dict[str, Any]]
    """Of each column."""


def part_of(source: RunSource, segment: Segment) -> Part:
    """Read what columns a segment has, not their values."""
    with source.open(segment.name) as dataset:
        require(layout_of_steps(dataset, segment))
        dtypes = {name: dtype for name, (_, dtype) in column_names(dataset).items()}
        attributes = {
            name: {key: dataset.variables[name].getncattr(key) for key in dataset.variables[name].ncattrs()}
            for name in dtypes
        }
    return Part(source, segment, dtypes, attributes)


class StepColumn(BackendArray):  # type: ignore[no-untyped-call, misc, unused-ignore]
    """One column over all parts, read when first used and kept."""

    def __init__(self, name: str, stand_in: str, parts: Sequence[Part]) -> None:
        self._name, self._stand_in, self._parts = name, stand_in, parts
        self.dtype = common_dtype(np.nan, [part.dtypes.get(self.name_in(part)) for part in parts])
        self.shape = (sum(part.segment.stop - part.segment.start for part in parts),)
        self._values: NDArray[Any] | None = None

    def name_in(self, part: Part) -> str:
        """Return the column's name in a part: ``lr`` stands for ``lr_1`` where all groups agreed."""
        return self._name if self._name in part.dtypes else self._stand_in

    def values(self) -> NDArray[Any]:
        """Read the column."""
        if self._values is None:
            (self._values,) = values_of([self], self._parts)
        return self._values

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, lambda k: self.values()[k]
        )


def values_of(columns: Sequence[StepColumn], parts: Sequence[Part]) -> list[NDArray[Any]]:
    """Return columns over the same parts; each part's file is opened once for all of them."""
    pieces: list[list[NDArray[Any]]] = [[] for _ in columns]
    for part in parts:
        names = [column.name_in(part) for column in columns]
        known = any(name in part.dtypes for name in names)
        with part.source.open(part.segment.name) if known else nullcontext() as dataset:
            for column, name, own in zip(columns, names, pieces, strict=True):
                length = part.segment.stop - part.segment.start
                own.append(
                    read_column(dataset, name).values
                    if name in part.dtypes
                    else missing(np.nan, length, column.dtype.kind == "O")
                )
    return [
        np.concatenate([piece.astype(column.dtype, copy=False) for piece in own])
        for column, own in zip(columns, pieces, strict=True)
    ]


def steps_dataset(parts: Sequence[Part]) -> xr.Dataset:
    """Return the dataset over ``step``; nothing but names is read now."""
    length = sum(part.segment.stop - part.segment.start for part in parts)
    names = {name: part.attributes[name] for part in parts for name in part.dtypes if name != "step"}
    split = {
        attributes["hyperparameter"]
        for name, attributes in names.items()
        if attributes.get("hyperparameter", name) != name
    }
    variables = {}
    for name, attributes in names.items():
        if name not in split:
            column = StepColumn(name, attributes.get("hyperparameter", name), parts)
            hidden = ("hyperparameter", "role", "labels", "dtype")
            shown = {key: value for key, value in attributes.items() if key not in hidden}
            variables[name] = xr.Variable("step", indexing.LazilyIndexedArray(column), shown)
    coordinate = xr.Coordinates({"step": xr.Variable("step", pd.RangeIndex(length))})
    dataset = xr.Dataset(variables, coords=coordinate)
    dataset["step"].attrs = {"long_name": "number of the optimizer step", "units": "1"}
    return dataset


def with_mismatch(steps: xr.Dataset, gaps: Sequence[Gap]) -> xr.Dataset:
    """Return the steps with the mismatch of those that were trained again between two checkpoints, if any were."""
    if not gaps:
        return steps
    values = np.zeros(steps.sizes["step"])
    for gap in gaps:
        values[gap.start : gap.stop] = gap.mismatch if gap.verdict == "approximate" else 0.0
    described = {"long_name": "how far from its checkpoint the gap ends, relative to its way", "units": "1"}
    return steps.assign({MISMATCH: ("step", values, described)})
