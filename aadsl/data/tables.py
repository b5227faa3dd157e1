"""What tables know of examples: the scalar columns of pandas, Hugging Face ``datasets`` and what looks like them.

A column is read when it is first used: a data set may hold gigabytes of text that no condition asks about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from aadsl.core.scalars import EXACT_AS_FLOAT

Readers = Mapping[str, Callable[[], NDArray[Any]]]

# What pandas finds in columns whose values are numbers, truth values, texts or dates, perhaps with gaps.
SCALAR = {"string", "boolean", "integer", "floating", "mixed-integer-float", "categorical", "datetime64", "date"}
# The features of Hugging Face datasets with one value an example; others hold images, lists or tensors.
FEATURES = {"Value", "ClassLabel"}


class Later(BackendArray):  # type: ignore[no-untyped-call, misc, unused-ignore]
    """A column of ``count`` values, read when first used and kept."""

    def __init__(self, read: Callable[[], NDArray[Any]], count: int) -> None:
        self._read = read
        self.shape, self.dtype = (count,), np.dtype(object)
        self._values: NDArray[Any] | None = None

    def _get(self, key: Any) -> NDArray[Any]:
        if self._values is None:
            self._values = self._read()
        found: NDArray[Any] = self._values[key]
        return found

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._get)


def coordinates(readers: Readers, count: int) -> xr.Dataset:
    """Return columns of ``count`` values as variables over ``example``, each read when first used."""
    known = {
        name: xr.Variable("example", indexing.LazilyIndexedArray(Later(read, count)))
        for name, read in readers.items()
        if name != "example"
    }
    return xr.Dataset(known, {"example": np.arange(count)})


def is_frame(table: Any) -> bool:
    """Return whether ``table`` is pandas'."""
    return isinstance(table, pd.DataFrame | pd.Series)


def columns_of(table: Any) -> Readers | None:
    """Return how to read each scalar column of a table; None where ``table`` is no table.

    A table is a pandas DataFrame or Series, or has ``column_names`` and columns by name, as a ``datasets.Dataset`` has.
    Values are numbers, truth values or texts; missing ones are NaN or None.
    """
    if is_frame(table):
        return {name: partial(values_of, column) for name, column in frame_of(table).items() if is_scalar(column)}
    names = getattr(table, "column_names", None)
    if not isinstance(names, list):
        return None
    features = getattr(table, "features", None)
    if isinstance(features, Mapping):
        names = [name for name in names if type(features.get(name)).__name__ in FEATURES]
    # Without its format the table gives Python's own numbers and texts, not tensors.
    plain = table.with_format(None) if hasattr(table, "with_format") else table
    return {str(name): partial(_read, plain, name) for name in names}


def frame_of(table: pd.DataFrame | pd.Series[Any]) -> dict[str, pd.Series[Any]]:
    """Return the columns of a DataFrame by name, those of its index that have a name among them."""
    frame = table.to_frame("value" if table.name is None else table.name) if isinstance(table, pd.Series) else table
    levels = frame.index.to_frame(index=False)
    index = {str(name): levels.iloc[:, place] for place, name in enumerate(frame.index.names) if name is not None}
    return index | {str(name): frame.iloc[:, place] for place, name in enumerate(frame.columns)}


def is_scalar(column: pd.Series[Any]) -> bool:
    """Return whether every value of a column is one number, truth value, text or date, or missing."""
    return pd.api.types.infer_dtype(column, skipna=True) in SCALAR


def values_of(column: pd.Series[Any]) -> NDArray[Any]:
    """Return the values of a pandas column: numbers with NaN where missing, else objects with None;
    so are whole numbers that a float does not hold."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype if not column.hasnans else object)
    kinds = pd.api.types
    if kinds.is_numeric_dtype(column) and not (kinds.is_bool_dtype(column) and column.hasnans):
        if column.hasnans and not (kinds.is_integer_dtype(column) and column.abs().max() > EXACT_AS_FLOAT):
            return column.to_numpy(dtype=float, na_value=np.nan)
        return column.astype(object).where(column.notna(), None).to_numpy() if column.hasnans else column.to_numpy()
    if kinds.is_datetime64_any_dtype(column):
        column = column.astype(str).where(column.notna())
    return column.astype(object).where(column.notna(), None).to_numpy()


def _read(table: Any, name: str) -> NDArray[Any]:
    return values_of(pd.Series(list(table[name])))


class Rows:
    """A DataFrame as a map-style dataset: an example is a dict of the values of its row."""

    def __init__(self, table: pd.DataFrame | pd.Series[Any]) -> None:
        self._columns = {name: values_of(column) for name, column in frame_of(table).items()}
        self._count = len(table)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {name: values[position] for name, values in self._columns.items()}
