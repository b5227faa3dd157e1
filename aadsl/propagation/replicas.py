"""The states of runs that advance together, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aadsl.dynamics import Slots
from aadsl.propagation.layout import FlatState


class Replicas:
    """Rows of parameters, slots and buffers; counters are numbers, so that rows with equal ones are found at once.

    Args:
        state: where row 0 begins.
        room: how many rows there may be.

    Attributes:
        count: how many rows there are.
        parameters: (room, P).
        vectors: for each parameter group the slots over its parameters, each (room, P_group).
        counters: for each row and parameter group the counters among the slots.
        buffers: (room, B).
        integers: module buffers of integer type, each (room, …).
    """

    def __init__(self, state: FlatState, room: int) -> None:
        self.count = 1
        self.parameters = _rows(state.parameters, room)
        self.vectors = tuple({n: _rows(t, room) for n, t in own.items() if t.dim()} for own in state.slots)
        self.counters = [[{n: float(t) for n, t in own.items() if not t.dim()} for own in state.slots]]
        self.buffers = _rows(state.buffers, room)
        self.integers = tuple(_rows(t, room) for t in state.integers)
        self._places: dict[tuple[int, int, int], tuple[Tensor, Slots]] = {}
        self._names = tuple(tuple(own) for own in state.slots)
        self._counter_like = {n: t for own in state.slots for n, t in own.items() if not t.dim()}

    def fork(self) -> None:
        """Add a row that begins where row 0 is."""
        for rows in self._all():
            rows[self.count] = rows[0]
        self.counters.append([dict(own) for own in self.counters[0]])
        self.count += 1

    def state(self, row: int) -> FlatState:
        """Return a copy of one row."""
        slots = []
        for names, vectors, counters in zip(self._names, self.vectors, self.counters[row], strict=True):
            own = {n: t[row].clone() for n, t in vectors.items()} | self._tensors(counters)
            slots.append({name: own[name] for name in names})
        integers = tuple(t[row].clone() for t in self.integers)
        return FlatState(self.parameters[row].clone(), tuple(slots), self.buffers[row].clone(), integers)

    def set(self, row: int, state: FlatState) -> None:
        """Overwrite one row."""
        self.parameters[row], self.buffers[row] = state.parameters, state.buffers
        for own, value in zip(self.integers, state.integers, strict=True):
            own[row] = value
        for group, slots in enumerate(state.slots):
            self.put_slots([row], group, {name: t[None] if t.dim() else t for name, t in slots.items()})

    def slots(self, rows: Sequence[int], group: int) -> Slots:
        """Return the slots of one parameter group of rows whose counters are equal."""
        vectors = {name: self.take(t, rows) for name, t in self.vectors[group].items()}
        return vectors | self.counters_of(rows, group)

    def counters_of(self, rows: Sequence[int], group: int) -> Slots:
        """Return the counters of one parameter group of rows whose counters are equal."""
        return self._tensors(self.counters[rows[0]][group])

    def places(
        self, rows: Sequence[int], group: int, start: int, first: int, width: int
    ) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        """Return where ``width`` neighboring parameters of each of some rows are, and their slots, to be written to.

        ``start`` is the first of them, which is the parameter ``first`` of its group. Views are made once: making them
        takes a fiftieth of a step of a small network.
        """
        found = [self._place(row, group, start, first, width) for row in rows]
        slots = {name: [own[name] for _, own in found] for name in self.vectors[group]}
        return [parameters for parameters, _ in found], slots

    def _place(self, row: int, group: int, start: int, first: int, width: int) -> tuple[Tensor, Slots]:
        key = row, start, width
        if key not in self._places:
            slots = {name: t[row, first : first + width] for name, t in self.vectors[group].items()}
            self._places[key] = self.parameters[row, start : start + width], slots
        return self._places[key]

    def take(self, matrix: Tensor, rows: Sequence[int]) -> Tensor:
        """Return some rows, ascending: a view where they are neighbors."""
        if rows[-1] - rows[0] + 1 == len(rows):
            return matrix[rows[0] : rows[-1] + 1]
        return matrix[torch.tensor(rows, device=matrix.device)]

    def put(self, matrix: Tensor, rows: Sequence[int], values: Tensor) -> None:
        """Overwrite some rows, ascending."""
        if rows[-1] - rows[0] + 1 == len(rows):
            matrix[rows[0] : rows[-1] + 1] = values
        else:
            matrix[torch.tensor(rows, device=matrix.device)] = values

    def put_slots(self, rows: Sequence[int], group: int, slots: Slots) -> None:
        """Overwrite slots of one parameter group of some rows."""
        for name, value in slots.items():
            if value.dim():
                self.put(self.vectors[group][name], rows, value)
            else:
                for row in rows:
                    self.counters[row][group][name] = float(value)

    def _tensors(self, counters: dict[str, float]) -> Slots:
        return {name: torch.full_like(self._counter_like[name], value) for name, value in counters.items()}

    def _all(self) -> list[Tensor]:
        vectors = [t for own in self.vectors for t in own.values()]
        return [self.parameters, *vectors, self.buffers, *self.integers]


def _rows(tensor: Tensor, room: int) -> Tensor:
    rows: Any = tensor.new_empty((room, *tensor.shape))
    rows[0] = tensor
    return rows  # type: ignore[no-any-return]
