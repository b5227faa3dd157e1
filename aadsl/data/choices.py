"""Which steps or examples are meant, from the forms in which Python code says it: masks, positions, slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from aadsl.core.errors import AadslError

Chosen = NDArray[np.bool_] | NDArray[np.int64]


def chosen(subject: str, selection: Any, known: xr.Dataset, dimension: str) -> Chosen:
    """Return a mask (n,), or positions from 0 to n - 1, in the order in which they were given.

    True and false, or zeros and ones, as many as there are, are a mask; other whole numbers are positions.

    Args:
        subject: what is defined, for messages.
        selection: a list, array, tensor or DataArray of either, or a slice.
        known: what is known of all, over ``dimension``.
        dimension: ``"step"`` or ``"example"``: what they are.

    Raises:
        AadslError: it is neither, does not fit the n that there are, or may mean two things.
    """
    length = int(known.sizes[dimension])
    if isinstance(selection, slice):
        return np.arange(length)[selection]
    values = _values(selection)
    if values.dtype.kind not in "biu" and values.size:
        raise AadslError(
            f"{subject}: {values.dtype} values are neither a mask nor positions of {dimension}s",
            hint=f"give true or false for each of the {length} {dimension}s, such as values == 1, or whole numbers",
        )
    if values.dtype.kind == "b" or _is_mask(subject, values, length, dimension):
        _require_fit(subject, selection, values, known, dimension)
        return values.astype(bool)
    return _positions(subject, values, length, dimension)


def _values(selection: Any) -> NDArray[Any]:
    values = selection.numpy(force=True) if isinstance(selection, Tensor) else np.asarray(selection)
    plain = values.tolist() if values.dtype == object and values.ndim == 1 else ()  # as pandas' nullable columns give
    return np.array(plain) if plain and {*map(type, plain)} <= {bool, int} else values


def _is_mask(subject: str, values: NDArray[Any], length: int, dimension: str) -> bool:
    """Return whether whole numbers are a mask, not positions."""
    if not values.size or not np.isin(values, (0, 1)).all():
        return False
    repeated, fits = len(np.unique(values)) < values.size, values.shape == (length,)
    if repeated and not fits:
        raise AadslError(
            f"{subject}: a mask of {_size(values)} zeros and ones does not fit {length} {dimension}s",
            hint=f"give one for each {dimension}; where positions are meant, name each once",
        )
    beyond = bool(values.max() >= length)
    if fits and not repeated and not beyond and values.tolist() != [0]:
        raise AadslError(
            f"{subject}: {values.tolist()} may be a mask of the {length} {dimension}s, or their numbers",
            hint=f"say it with true and false: {values.astype(bool).tolist()}",
        )
    return fits and (repeated or beyond)


def _require_fit(subject: str, selection: Any, values: NDArray[Any], known: xr.Dataset, dimension: str) -> None:
    length = known.sizes[dimension]
    if values.shape != (length,):
        raise AadslError(
            f"{subject}: a mask of {_size(values)} values does not fit {length} {dimension}s",
            hint=f"give true or false for each of the {length} {dimension}s",
        )
    own = selection.coords if isinstance(selection, xr.DataArray) else {}
    for name in known.variables.keys() & own.keys() & {*getattr(selection, "dims", ())}:
        if not np.array_equal(own[name].values, known[name].values):
            raise AadslError(
                f'{subject}: the mask is of other {dimension}s: its coordinate "{name}" is not that of '
                f"the {length} {dimension}s",
                hint="compute the mask from all of them, in their order",
            )


def _positions(subject: str, values: NDArray[Any], length: int, dimension: str) -> NDArray[np.int64]:
    outside = values[(values < -length) | (values >= length)].ravel() if values.size else values
    if outside.size:
        there = f"one of the {dimension}s 0 to {length - 1}" if length else "there"
        raise AadslError(f"{subject}: {dimension} {int(outside[0])} is not {there}")
    return values.astype(np.int64).ravel() % max(1, length)


def _size(values: NDArray[Any]) -> str:
    return " × ".join(map(str, values.shape))
