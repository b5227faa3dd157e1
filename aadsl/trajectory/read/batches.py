"""Reads what steps consumed: indices, tensors, generator states, example by example."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import isnan, nan
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from aadsl.core.errors import AadslError
from aadsl.trajectory.read.rules import layout_of_batches, require
from aadsl.trajectory.read.source import RunSource
from aadsl.trajectory.store.columns import Columns, column_names, read_column
from aadsl.trajectory.store.segments import Segment
from aadsl.trajectory.store.specs import ANNOUNCED, FACTOR, LOADER, LOSS, RANK, STRUCTURE, WEIGHT
from aadsl.trajectory.store.structure import put_together
from aadsl.trajectory.store.tensors import from_array

# Segments kept in memory; a sweep goes through them one after the other.
_KEPT = 2


class BatchReader:
    """Gives the rows of one run's ``batches`` segments, step by step."""

    def __init__(self, source: RunSource, segments: list[Segment]) -> None:
        self._source = source
        self._segments = segments
        self._starts = [segment.start for segment in segments]
        self._latest: tuple[int, tuple[Loaded, int, int]] | None = None
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def at(self, step: int) -> tuple[Loaded, int, int]:
        """Return the loaded segment of a step and its rows ``first <= row < last`` of micro-batches."""
        # A step's indices, tensors and generator states are asked for one after the other.
        if self._latest is None or self._latest[0] != step:
            self._latest = step, self._find(step)
        return self._latest[1]

    def _find(self, step: int) -> tuple[Loaded, int, int]:
        place = bisect_right(self._starts, step) - 1
        if place < 0 or step >= self._segments[place].stop:
            raise AadslError(
                f"{self._source.path}: the segment of batches with step {step} is missing", hint="restore the file"
            )
        segment = self._segments[place]
        if segment.name not in self._loaded:
            with self._source.open(segment.name) as dataset:
                require(layout_of_batches(dataset, segment))
                self._loaded[segment.name] = Loaded(
                    {name: read_column(dataset, name) for name in column_names(dataset)}
                )
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
        loaded = self._loaded[segment.name]
        return loaded, *loaded.rows(step)

    def used(self) -> NDArray[np.int64]:
        """Return the positions in the data set that micro-batches used, each once."""
        found = [np.empty(0, np.int64)]
        for loaded in self.all():
            if "index" in loaded.columns:
                values = np.unique(loaded.columns["index"].values)
                found.append(values[values >= 0])
        return np.unique(np.concatenate(found))

    def all(self) -> Iterator[Loaded]:
        """Yield the segments in order."""
        for start in self._starts:
            yield self.at(start)[0]


class Loaded:
    """All columns of a segment of batches; ragged ones are cut by the running sum of their sizes."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._offsets: dict[str, NDArray[np.int64]] = {}
        self._generators = [name for name in columns if name.startswith("rng_") and f"{name}_size" in columns]
        stored = [(name, column) for name, column in columns.items() if "tensor" in column.attributes]
        self._stored = sorted(stored, key=lambda member: int(member[1].attributes["position"]))

    def rows(self, step: int) -> tuple[int, int]:
        """Return the rows ``first <= row < last`` of the micro-batches of a step."""
        return bisect_left(self._steps, step), bisect_right(self._steps, step)

    @cached_property
    def _steps(self) -> list[int]:
        """The step of each row, ascending."""
        steps: list[int] = self.columns["step"].values.tolist()
        return steps

    def offsets(self, size_column: str) -> NDArray[np.int64]:
        """Return where each micro-batch begins, and where the last ends."""
        if size_column not in self._offsets:
            sizes = self.columns[size_column].values.astype(np.int64)
            self._offsets[size_column] = np.concatenate([[0], np.cumsum(sizes)])
        return self._offsets[size_column]

    def ragged(self, variable: str, row: int, size_column: str) -> NDArray[Any]:
        """Return the values of one micro-batch."""
        offsets = self.offsets(size_column)
        values: NDArray[Any] = self.columns[variable].values[offsets[row] : offsets[row + 1]]
        return values

    def indices(self, row: int) -> NDArray[np.int64] | None:
        """Return a micro-batch's positions in the data set, None where it was not announced by them."""
        if "index" not in self.columns:
            return None
        found = self.ragged("index", row, "row_size")
        return None if len(found) == 0 or found[0] < 0 else found

    def batch(self, row: int) -> Any:
        """Return a micro-batch as it was announced, None where it was not stored. Raises AadslError if damaged."""
        try:
            tensors = self.tensors(row)
            structure = self.columns[STRUCTURE].values[row] if STRUCTURE in self.columns else ""
            return put_together(structure, tensors) if structure or tensors else None
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
            raise AadslError(
                f"a stored batch cannot be put together: {error}",
                hint="trajectory.violations() says which file is damaged",
            ) from error

    def weight(self, row: int) -> float | None:
        """Return the factor of a micro-batch's loss in the loss of its step, None where it was not told."""
        value = self._number(WEIGHT, row)
        return None if isnan(value) else value

    def differentiated(self, row: int) -> tuple[float, float] | None:
        """Return what ``backward()`` was called on, and by what that had been multiplied last; None where not seen."""
        factor = self._number(FACTOR, row)
        return None if isnan(factor) else (self._number(LOSS, row), factor)

    def rank(self, row: int) -> int | None:
        """Return the rank of the process that computed a micro-batch, None where one process trained."""
        return int(self.columns[RANK].values[row]) if RANK in self.columns else None

    def _number(self, name: str, row: int) -> float:
        return float(self.columns[name].values[row]) if name in self.columns else nan

    def tensors(self, row: int) -> dict[str, Tensor]:
        """Return a micro-batch's stored tensors by name."""
        found = {}
        for variable, column in self._stored:
            shape = self.columns[f"{variable}_shape"].values[row]
            if shape:
                sides = [] if shape == "scalar" else [int(side) for side in shape.split("x")]
                flat = from_array(self.ragged(variable, row, f"{variable}_size"), column.attributes["torch_dtype"])
                found[str(column.attributes["tensor"])] = flat.clone().view(sides)
        return found

    def generators(self, row: int, where: str = "") -> dict[str, Tensor]:
        """Return the generators' states from which a micro-batch's forward started, by name; or ``where`` else.

        That is ``LOADER``, where a loader began to make it, or ``ANNOUNCED``.
        """
        found = {}
        for variable in self._generators:
            name = variable.removeprefix("rng_")
            place = next((known for known in (LOADER, ANNOUNCED) if name.startswith(known)), "")
            if place == where and len(state := self.ragged(variable, row, f"{variable}_size")):
                found[name.removeprefix(place).replace("cuda", "cuda:")] = torch.from_numpy(state.copy())
        return found


def joined(batches: Sequence[Any]) -> Any:
    """Return micro-batches as one, their tensors joined along the first dimension; what has none is alike in all.

    Raises ValueError where they cannot be joined.
    """
    if len(batches) == 1:
        return batches[0]
    flat = [tree_flatten(batch) for batch in batches]
    if any(structure != flat[0][1] for _, structure in flat):
        raise ValueError("their members are not the same")
    return tree_unflatten(
        [_joined(members) for members in zip(*(leaves for leaves, _ in flat), strict=True)], flat[0][1]
    )


def _joined(members: Sequence[Any]) -> Any:
    first = members[0]
    if isinstance(first, (Tensor, np.ndarray)) and first.ndim:
        if any(member.shape[1:] != first.shape[1:] for member in members):
            raise ValueError("their tensors are not of one shape beyond the first dimension")
        return torch.cat(list(members)) if isinstance(first, Tensor) else np.concatenate(members)
    if any(not bool(member == first) for member in members):
        raise ValueError("they hold text or numbers, each its own")
    return first
