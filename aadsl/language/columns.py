"""Values of conditions: one number, text or truth value a step (or example), any of which may be missing.

Truth has three values: a comparison with a missing value is unknown, ``not unknown`` is unknown, and what is unknown
never matches. Text is kept as integer codes into its distinct values, so a comparison touches each value once. Numbers
compare and compute as Python's do: whole ones exactly, in up to 64 bits, and with floats by their true values.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aadsl.core.scalars import EXACT_AS_FLOAT, written
from aadsl.core.texts import in_line

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
EXACTLY: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.frompyfunc(operator.add, 2, 1),
    "-": np.frompyfunc(operator.sub, 2, 1),
    "*": np.frompyfunc(operator.mul, 2, 1),
    "/": np.frompyfunc(lambda a, b: a / b if b else None, 2, 1),
    "%": np.frompyfunc(lambda a, b: a % b if b else None, 2, 1),
}
"""The same of Python's numbers, of which whole ones never overflow; None where there is none."""
KNOWN = np.True_
# Whole numbers up to here have products that floats hold exactly.
EXACT_PRODUCTS = 1 << 26
BRIEF = 60
"""Letters of a text in a summary."""


@dataclass(frozen=True, eq=False)
class Column:
    """Values along one axis, or one value for all (0-dimensional).

    Attributes:
        kind: how the values compare: ``"number"``, ``"text"`` or ``"boolean"``.
        values: numbers, Python's own where no dtype holds them all; truth values, False where unknown; or codes into
            ``categories``, -1 where missing.
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
        return tuple(written(value) for value in present.tolist())

    def summary(self, limit: int = 5) -> str:
        """Return the range of numbers, or how often each of the most frequent texts or truth values occurs.

        >>> Column.of([0.1, 0.5, float("nan")]).summary(), Column.of(["b", "a", "b"]).summary()
        ('0.1 … 0.5, 1 missing', '"b" 2, "a" 1')
        """
        known = np.broadcast_to(self.known, self.values.shape) if self.kind != "text" else self.values >= 0
        values, missing = self.values[known], int(np.count_nonzero(~known))
        rest = [f"{missing:,} missing"] if missing else []
        if self.kind == "number":
            ends = dict.fromkeys(_brief(end) for end in (values.min(), values.max())) if values.size else ()
            return ", ".join([*([" … ".join(ends)] if ends else []), *rest])
        present, counts = np.unique(values, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        names = self.categories if self.kind == "text" else (False, True)
        told = [f"{in_line(written(names[int(present[k])]), BRIEF)} {counts[k]:,}" for k in order[:limit]]
        more = [f"{len(order) - limit:,} others"] if len(order) > limit else []
        return ", ".join([*told, *more, *rest])

    def matching(self) -> NDArray[np.bool_]:
        """Return where a boolean column is known to be true."""
        return np.asarray(self.values & self.known, dtype=bool)


def _brief(number: Any) -> str:
    """Return a number with no more digits than one reads."""
    return f"{number:.4g}" if isinstance(number, (float, np.floating)) else str(number)


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
        return Column("number", np.append(_numbers(distinct), 0)[codes].reshape(array.shape), known)
    return Column("text", codes.reshape(array.shape), known, tuple(str(value) for value in distinct))


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Return Python's numbers as an array: whole ones of up to 64 bits as such, others as floats.

    Where no dtype holds all of them as they are, they stay Python's.
    """
    whole = [int(value) for value in values if isinstance(value, int | np.integer)]
    low, high = min(whole, default=0), max(whole, default=0)
    if len(whole) == len(values):
        for kind in (np.int64, np.uint64):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return values.astype(kind)
    if max(-low, high) <= EXACT_AS_FLOAT:
        return values.astype(float)
    fitting = [value if isinstance(value, float) or -(1 << 63) <= value < 1 << 64 else float(value) for value in values]
    return np.array(fitting, dtype=object)


def _both(*masks: Known) -> Known:
    """Return where every mask is true. Keeps the one scalar ``KNOWN``, so that complete data costs no mask."""
    partial = [mask for mask in masks if mask is not KNOWN]
    return reduce(operator.and_, partial) if partial else KNOWN


def compare(left: Column, symbol: str, right: Column) -> Column:
    """Return ``left symbol right``; both must be of one kind."""
    function = COMPARISONS[symbol]
    known = _both(left.known, right.known)
    if left.kind != "text":
        with np.errstate(invalid="ignore"):  # NaN stands where a number is missing
            return Column("boolean", function(*_comparable(left, right)) & known, known)
    if right.values.ndim == 0 and len(right.categories) == 1:
        return match(left, lambda text: function(text, right.categories[0]))
    return Column("boolean", np.asarray(function(left.texts(), right.texts()), dtype=bool) & known, known)


def _comparable(left: Column, right: Column) -> tuple[Any, Any]:
    """Return the values of two columns, as Python's numbers where NumPy would round a whole one to compare it."""
    pair = (left, right), (right, left)
    if any(one.values.dtype.kind == "f" and _largest(other) > EXACT_AS_FLOAT for one, other in pair):
        return left.values.astype(object), right.values.astype(object)
    return left.values, right.values


def _largest(column: Column) -> int:
    """Return the largest absolute value of a column of whole numbers, 0 for any other."""
    values = column.values
    return max(int(values.max()), -int(values.min())) if values.dtype.kind in "iu" and values.size else 0


def match(column: Column, test: Callable[[str], Any]) -> Column:
    """Return where ``test`` holds of a text column, asking once a distinct text."""
    holds = np.array([*(bool(test(text)) for text in column.categories), False])
    return Column("boolean", holds[column.values], column.known)


def calculate(left: Column, symbol: str, right: Column) -> Column:
    """Return ``left symbol right`` of two number columns; what has no finite value (1/0) is missing.

    Whole numbers give a whole number, which beyond 64 bits is the nearest float, as a quotient always is.
    """
    kinds = {left.values.dtype.kind, right.values.dtype.kind}
    large = kinds <= {"i", "u"} and max(_largest(left), _largest(right)) > EXACT_PRODUCTS
    if large or "O" in kinds:
        exact = np.asarray(EXACTLY[symbol](left.values.astype(object), right.values.astype(object)), dtype=object)
        there = np.asarray(exact != None, dtype=bool)  # noqa: E711  (of each element)
        values = _numbers(np.where(there, exact, 0).ravel()).reshape(exact.shape)
        there &= np.isfinite(values.astype(float))
        return Column("number", values, _both(left.known, right.known, KNOWN if there.all() else there))
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
