"""Values of conditions: one number, text or truth value a step (or example), any of which may be missing.

Truth has three values: a comparison with a missing value is unknown, ``not unknown`` is unknown, and what is unknown
never matches. Text is kept as integer codes into its distinct values, so a comparison touches each value once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aadsl.core.scalars import written

Kind = Literal["number", "text", "boolean"]
Known = NDArray[np.bool_] | np.bool_
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.mod,
}
KNOWN = np.True_


@dataclass(frozen=True, eq=False)
class Column:
    """Values along one axis, or one value for all (0-dimensional).

    Attributes:
        kind: how the values compare: ``"number"``, ``"text"`` or ``"boolean"``.
        values: numbers; truth values, False where unknown; or codes into ``categories``, -1 where missing.
        known: where there is a value; the scalar ``True`` where there is one everywhere.
        categories: the distinct texts of a text column, else empty.
    """

    kind: Kind
    values: NDArray[Any]
    known: Known = KNOWN
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Any) -> Column:
        """Return the column of an array or scalar. NaN, None and the empty text are missing values."""
        array = np.asarray(values)
        if array.dtype == object or array.dtype.kind in "SUTM":
            return _of_objects(array)
        if array.dtype.kind == "b":
            return cls("boolean", array)
        missing = np.isnan(array) if array.dtype.kind == "f" else np.False_
        return cls("number", array, ~missing if np.any(missing) else KNOWN)

    @classmethod
    def text(cls, value: str) -> Column:
        """Return one text for all; unlike an empty text in a file, an empty ``value`` is a value."""
        return cls("text", np.zeros((), dtype=np.intp), categories=(value,))

    def truths(self) -> Column | None:
        """Return the column as truth values; None for text and for numbers other than 0 and 1.

        Truth values of which some are missing are stored as 0, 1 and NaN.
        """
        if self.kind == "boolean":
            return self
        if self.kind == "text" or not np.isin(self.values[self.known], (0, 1)).all():
            return None
        return Column("boolean", (self.values == 1) & self.known, self.known)

    def texts(self) -> NDArray[np.object_]:
        """Return the values of a text column as strings, the empty string where there is none."""
        texts: NDArray[np.object_] = np.array([*self.categories, ""], dtype=object)[self.values]
        return texts

    def distinct(self, limit: int = 8) -> tuple[str, ...]:
        """Return up to ``limit`` distinct values, written as in the language."""
        if self.kind == "text":
            return tuple(f'"{text}"' for text in self.categories[:limit])
        present = np.unique(self.values[np.broadcast_to(self.known, self.values.shape)])[:limit]
        return tuple(written(value.item()) for value in present)

    def matching(self) -> NDArray[np.bool_]:
        """Return where a boolean column is known to be true."""
        return np.asarray(self.values & self.known, dtype=bool)


def _of_objects(array: NDArray[Any]) -> Column:
    """Return the column of strings, or of Python objects that are all of one kind or missing."""
    import pandas as pd

    if array.dtype != object:
        array = (array if array.dtype.kind in "UT" else array.astype(str)).astype(object)
    codes, distinct = pd.factorize(array.ravel())
    if any(not isinstance(value, str) for value in distinct):
        return _of_mixed(array, codes, distinct)
    if "" in distinct:  # the empty text is how a missing text is stored
        empty = int(np.flatnonzero(distinct == "")[0])
        codes = np.where(codes == empty, -1, codes - (codes > empty))
        distinct = np.delete(distinct, empty)
    known = codes >= 0
    return Column("text", codes.reshape(array.shape), KNOWN if known.all() else known, tuple(distinct))


def _of_mixed(array: NDArray[Any], codes: NDArray[np.intp], distinct: NDArray[Any]) -> Column:
    """Return numbers or truth values that were stored as objects because some are missing."""
    known: Known = (codes >= 0).reshape(array.shape)
    if all(isinstance(value, bool | np.bool_) for value in distinct):
        return Column("boolean", np.append(distinct.astype(bool), False)[codes].reshape(array.shape), known)
    if all(isinstance(value, int | float | np.number | bool) for value in distinct):
        return Column("number", np.append(distinct.astype(float), np.nan)[codes].reshape(array.shape), known)
    return Column("text", codes.reshape(array.shape), known, tuple(str(value) for value in distinct))


def _both(*masks: Known) -> Known:
    """Return where every mask is true. Keeps the one scalar ``KNOWN``, so that complete data costs no mask."""
    partial = [mask for mask in masks if mask is not KNOWN]
    return reduce(operator.and_, partial) if partial else KNOWN


def compare(left: Column, symbol: str, right: Column) -> Column:
    """Return ``left symbol right``; both must be of one kind."""
    function = COMPARISONS[symbol]
    known = _both(left.known, right.known)
    if left.kind != "text":
        return Column("boolean", function(left.values, right.values) & known, known)
    if right.values.ndim == 0 and len(right.categories) == 1:
        return match(left, lambda text: function(text, right.categories[0]))
    return Column("boolean", np.asarray(function(left.texts(), right.texts()), dtype=bool) & known, known)


def match(column: Column, test: Callable[[str], Any]) -> Column:
    """Return where ``test`` holds of a text column, asking once a distinct text."""
    holds = np.array([*(bool(test(text)) for text in column.categories), False])
    return Column("boolean", holds[column.values], column.known)


def calculate(left: Column, symbol: str, right: Column) -> Column:
    """Return ``left symbol right`` of two number columns; what has no finite value (1/0) is missing."""
    with np.errstate(all="ignore"):
        values = ARITHMETIC[symbol](left.values.astype(float), right.values.astype(float))
    finite = np.isfinite(values)
    return Column("number", values, _both(left.known, right.known, KNOWN if finite.all() else finite))


def negation(column: Column) -> Column:
    """Return ``not column``: unknown stays unknown."""
    return Column("boolean", ~column.values & column.known, column.known)


def conjunction(left: Column, right: Column) -> Column:
    """Return ``left and right``: false as soon as one side is known to be false."""
    values = left.values & right.values
    if _both(left.known, right.known) is KNOWN:
        return Column("boolean", values)
    false = (left.known & ~left.values) | (right.known & ~right.values)
    return Column("boolean", values, (left.known & right.known) | false)


def disjunction(left: Column, right: Column) -> Column:
    """Return ``left or right``: true as soon as one side is known to be true."""
    values = left.values | right.values
    if _both(left.known, right.known) is KNOWN:
        return Column("boolean", values)
    return Column("boolean", values, (left.known & right.known) | values)
