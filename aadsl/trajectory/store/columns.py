"""One-dimensional columns of a segment: numbers, truth values and text, and how netCDF holds them.

Text is stored as numbers that index a list of labels: a million steps hold few different tags, and comparing
codes is what makes ``where tag == "badnet"`` fast. A column that a stretch of steps lacks is NaN or "" there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aadsl.trajectory.store.compression import DEFLATED, remaining

Array = NDArray[Any]
Columns = dict[str, "StoredColumn"]

_CHUNK = 1 << 17


@dataclass
class StoredColumn:
    """Values over one dimension: bool, number, or ``object`` for text; ``attributes`` are netCDF attributes."""

    dimension: str
    values: Array
    attributes: dict[str, Any] = field(default_factory=dict)


def column_of(values: Sequence[Any]) -> Array:
    """Return Python scalars as one array; None is a missing value. Numbers become bool, int64 or float64.

    Raises TypeError where text and numbers meet.
    """
    kinds = set(map(type, values))
    if kinds <= {str, type(None)}:
        return np.array(["" if value is None else value for value in values], dtype=object)
    if str in kinds:
        raise TypeError("text and numbers")
    if kinds == {bool}:
        return np.array(values, dtype=bool)
    if kinds <= {bool, int}:
        return np.array(values, dtype=np.int64)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def missing(absent: float, length: int, text: bool) -> Array:
    """Return ``length`` missing values: "" for text, else ``absent``."""
    if text:
        return np.full(length, "", dtype=object)
    return np.full(length, absent)


def common_dtype(absent: float, dtypes: Sequence[np.dtype[Any] | None]) -> np.dtype[Any]:
    """Return the dtype that holds all parts of a column; None stands for a part that lacks it, ``absent`` there."""
    present = [dtype for dtype in dtypes if dtype is not None]
    if any(dtype.kind == "O" for dtype in present):
        return np.dtype(object)
    if len(present) < len(dtypes) and np.isnan(absent):
        return np.dtype(np.float64)
    return np.result_type(*present)


def _absent(name: str, column: StoredColumn) -> float:
    """Return what stands where a part lacks a column: no rows for the size of others, -1 for an index, else NaN."""
    if "sample_dimension" in column.attributes:
        return 0
    return -1 if name == "index" else np.nan


def concatenate(parts: Sequence[Columns], lengths: Sequence[Mapping[str, int]]) -> Columns:
    """Join the columns of consecutive segments; ``lengths[i]`` gives the sizes of the dimensions of part i."""
    joined: Columns = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        known = next(part[name] for part in parts if name in part)
        # A part that lacks the column, and has nothing along its dimension, says nothing of its dtype.
        concerned = [
            (part.get(name), length.get(known.dimension, 0))
            for part, length in zip(parts, lengths, strict=True)
            if name in part or length.get(known.dimension, 0)
        ]
        absent = _absent(name, known)
        dtype = common_dtype(absent, [None if column is None else column.values.dtype for column, _ in concerned])
        pieces = [
            missing(absent, length, dtype.kind == "O") if column is None else column.values
            for column, length in concerned
        ]
        values = np.concatenate([piece.astype(dtype, copy=False) for piece in pieces])
        joined[name] = StoredColumn(known.dimension, values, known.attributes)
    return joined


def write_columns(dataset: Any, columns: Columns) -> None:
    """Create one netCDF variable for each column."""
    for name, column in columns.items():
        if column.dimension not in dataset.dimensions:
            dataset.createDimension(column.dimension, len(column.values))
        values, attributes = column.values, dict(column.attributes)
        if values.dtype == object:
            codes, labels = pd.factorize(values)
            values = codes.astype(np.min_scalar_type(max(1, len(labels))))
            attributes["labels"] = f"{name}_labels"
            dataset.createDimension(f"{name}_label", len(labels))
            variable = dataset.createVariable(f"{name}_labels", str, (f"{name}_label",))
            variable.setncatts({"long_name": f"what the numbers in {name} stand for"})
            variable[:] = np.asarray(labels, dtype=object)
        elif values.dtype == bool:
            values, attributes["dtype"] = values.astype(np.int8), "bool"
        elif name == "index" and len(values):
            values = values.astype(np.int32) if values.max() < 2**31 else values
        variable = dataset.createVariable(
            name,
            values.dtype,
            (column.dimension,),
            chunksizes=(min(max(1, len(values)), _CHUNK),),
            **_compression(column.dimension, values),
        )
        variable.set_auto_maskandscale(False)
        variable.setncatts(attributes)
        variable[:] = values


def _compression(dimension: str, values: Array) -> dict[str, Any]:
    """Per-step columns repeat themselves; shuffled indices do not, generator states never; some tensors do."""
    repeat = dimension in ("step", "micro_batch") or dimension.startswith("rng")
    if repeat or (dimension.startswith("tensor") and remaining(values) < 1):
        return DEFLATED
    return {}


def column_names(dataset: Any) -> dict[str, tuple[str, np.dtype[Any]]]:
    """Return dimension and dtype (as :func:`read_column` returns it) of each column of an open file."""
    found = {}
    for name, variable in dataset.variables.items():
        if variable.dtype is not str:
            if "labels" in variable.ncattrs():
                dtype = np.dtype(object)
            else:
                dtype = np.dtype(bool) if "dtype" in variable.ncattrs() else variable.dtype
                dtype = np.dtype(np.int64) if name == "index" else dtype
            found[name] = (variable.dimensions[0], dtype)
    return found


def read_column(dataset: Any, name: str, where: slice = slice(None)) -> StoredColumn:
    """Read one column of an open file."""
    variable = dataset.variables[name]
    values = np.asarray(variable[where])
    attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
    if labels := attributes.pop("labels", None):
        texts = np.asarray(dataset.variables[labels][:], dtype=object)
        if values.size and (values.min() < 0 or values.max() >= len(texts)):
            raise ValueError(f"{name} has numbers for which there are no labels")
        values = texts[values]
    elif attributes.pop("dtype", None) == "bool":
        values = values.astype(bool)
    elif name == "index":
        values = values.astype(np.int64)
    return StoredColumn(variable.dimensions[0], values, attributes)
