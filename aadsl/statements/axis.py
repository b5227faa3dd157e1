"""The coordinates of steps or of examples, as columns that conditions compute with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aadsl.errors import Span, did_you_mean
from aadsl.language import Column, Expression, Name, Reference, Scalar

if TYPE_CHECKING:
    import xarray as xr

Report = Callable[[Span, str, str], None]


class Coordinates:
    """The one-dimensional variables of a Dataset over ``dimension``; each is read and coded once."""

    def __init__(self, dataset: xr.Dataset, dimension: str) -> None:
        self.dataset, self.dimension = dataset, dimension
        self.length = int(dataset.sizes.get(dimension, 0))
        self.names = tuple(str(name) for name, v in dataset.variables.items() if v.dims == (dimension,))
        self._columns: dict[str, Column] = {}

    def column(self, name: str) -> Column:
        """Return the values of a coordinate that exists."""
        if name not in self._columns:
            self._columns[name] = Column.of(self.dataset[name].values)
        return self._columns[name]


class Examples:
    """An environment over examples: their coordinates and the notebook's values, nothing else."""

    where = "these examples"

    def __init__(self, coordinates: Coordinates, names: Mapping[str, Any], report: Report) -> None:
        self.coordinates, self.names, self._report = coordinates, names, report

    @property
    def length(self) -> int:
        """How many examples there are."""
        return self.coordinates.length

    def report(self, span: Span, message: str, hint: str = "") -> None:
        """Note a mistake."""
        self._report(span, message, hint)

    def coordinate(self, name: Name) -> Column | None:
        """Return a coordinate, or a single value that lives in the notebook under this name."""
        if name.text in self.coordinates.names:
            return self.coordinates.column(name.text)
        value = self.names.get(name.text)
        if isinstance(value, bool | int | float):
            return Column.of(value)
        if isinstance(value, str):
            return Column.text(value)
        close, known = did_you_mean(name.text, self.coordinates.names), ", ".join(self.coordinates.names)
        self.report(name.span, f'no coordinate "{name.text}" on {self.where}', f"{close} coordinates: {known}".strip())
        return None

    def collection(self, name: Name) -> tuple[Scalar, ...] | None:
        """Return a list, tuple or set of numbers or texts that lives in the notebook."""
        value = self.names.get(name.text)
        if isinstance(value, list | tuple | set | frozenset) and all(isinstance(v, Scalar) for v in value):
            return tuple(value)
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
