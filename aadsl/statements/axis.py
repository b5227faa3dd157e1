"""The coordinates of steps or of examples, as columns that conditions compute with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aadsl.core.errors import Span, did_you_mean
from aadsl.core.families import composed
from aadsl.data.coordinates import names_in_answers, useful
from aadsl.language import Column, Expression, Name, Reference, Scalar

if TYPE_CHECKING:
    import xarray as xr

NOTHING = {"none", "null", "nan", "na"}
ReportMistake = Callable[[Span, str, str], None]


class Coordinates:
    """Columns along one axis by name; each is read and coded once, when it is first used.

    Attributes:
        names_in_answers: what answers call each of them.
    """

    def __init__(self, readers: Mapping[str, Callable[[], Column]], length: int) -> None:
        self.readers = {composed(name): reader for name, reader in readers.items()}
        self.length, self.names = length, tuple(self.readers)
        self.names_in_answers = names_in_answers(self.names)
        self._columns: dict[str, Column] = {}

    @classmethod
    def of(cls, dataset: xr.Dataset, dimension: str) -> Coordinates:
        """Return the one-dimensional variables of a Dataset over ``dimension``."""
        names = [str(name) for name, variable in dataset.variables.items() if variable.dims == (dimension,)]
        readers = {name: partial(_read, dataset, name) for name in names}
        return cls(readers, int(dataset.sizes.get(dimension, 0)))

    def column(self, name: str) -> Column:
        """Return the values of a coordinate that exists."""
        if name not in self._columns:
            self._columns[name] = self.readers[name]()
        return self._columns[name]


def _read(dataset: xr.Dataset, name: str) -> Column:
    return Column.of(dataset[name].values)


def plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's, anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


class OverExamples:
    """An environment over examples: their coordinates and the notebook's values, nothing else."""

    def __init__(
        self, coordinates: Coordinates, names: Mapping[str, Any], report: ReportMistake, where: str = "these examples"
    ) -> None:
        self.coordinates, self.names, self._report, self.where = coordinates, names, report, where

    @property
    def length(self) -> int:
        """How many examples there are."""
        return self.coordinates.length

    def report(self, span: Span, message: str, hint: str = "") -> None:
        """Note a mistake."""
        self._report(span, message, hint)

    def coordinate(self, name: Name) -> Column | None:
        """Return a coordinate, or a single value that lives in the notebook under this name."""
        if name.text not in self.coordinates.names:
            value = plain(self.names.get(name.text))
            if isinstance(value, str):
                return Column.text(value)
            if isinstance(value, Scalar):
                return Column.of(value)
        return self.varying(name)

    def varying(self, name: Name) -> Column | None:
        """Return a coordinate, such as a family is made by."""
        if name.text in self.coordinates.names:
            return self.coordinates.column(name.text)
        self.report(name.span, f'no coordinate "{name.text}" on {self.where}', self.way_out(name.text))
        return None

    def way_out(self, name: str) -> str:
        """Return the hint for a name that is no coordinate."""
        if name.casefold() in NOTHING:
            return "what has no value never matches, so there is nothing to compare with"
        columns = (self.coordinates.column(known) for known in self.coordinates.names)
        if any(name in column.categories for column in columns):
            return f'text stands in quotes: "{name}"'
        known = ", ".join(useful(self.coordinates.names))
        return f"{did_you_mean(name, self.coordinates.names)} coordinates: {known}".strip()

    def collection(self, name: Name) -> tuple[Scalar, ...] | None:
        """Return a list, tuple or set of numbers or texts that lives in the notebook."""
        value = self.names.get(name.text)
        if isinstance(value, list | tuple | set | frozenset | range | np.ndarray):
            items = tuple(map(plain, value))
            if all(isinstance(item, Scalar) for item in items):
                return items
        self.report(name.span, f'no list "{name.text}"', "write [4, 9], or the name of a list in the notebook")
        return None

    def stage(self, reference: Reference) -> Column | None:
        """Refuse: stages are sets of steps."""
        self.report(reference.span, "a stage holds steps, not examples")
        return None

    def predicate(self, function: Name, condition: Expression) -> Column | None:
        """Refuse: examples have no examples."""
        self.report(function.span, f'"{function.text}" is for steps; here every example stands alone')
        return None
