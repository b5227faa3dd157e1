"""Many tensors as one flat vector, and the state of a run in that form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where each named tensor lies in one flat vector; tensors of one parameter group are neighbors.

    Attributes:
        names: tensor names in flat order.
        shapes: their shapes.
        groups: the parameter group of each, ascending.
        ranks: the place of each in the order in which they were given: that of the model, for what adds up over all.
        formats: the memory format of each in the model, "" for the usual one, which flat vectors have.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    groups: tuple[int, ...]
    ranks: tuple[int, ...]
    formats: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        shapes: Mapping[str, Sequence[int]],
        groups: Mapping[str, int] | None = None,
        formats: Mapping[str, str] | None = None,
    ) -> Layout:
        """Return the layout of tensors with these ``shapes``, ordered by their ``groups`` (all 0 where not given)."""
        names = sorted(shapes, key=lambda name: groups[name]) if groups else list(shapes)
        given = {name: place for place, name in enumerate(shapes)}
        return cls(
            tuple(names),
            tuple(tuple(shapes[name]) for name in names),
            tuple(groups[name] if groups else 0 for name in names),
            tuple(given[name] for name in names),
            tuple(formats[name] if formats else "" for name in names),
        )

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of elements of each tensor."""
        return tuple(prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First element of each tensor, and the total length as the last entry."""
        return tuple(accumulate(self.counts, initial=0))

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return self.offsets[-1]

    @cached_property
    def group_slices(self) -> tuple[slice, ...]:
        """The stretch of the flat vector that each parameter group takes."""
        bounds: dict[int, tuple[int, int]] = {}
        for position, group in enumerate(self.groups):
            start = bounds.get(group, (self.offsets[position], 0))[0]
            bounds[group] = (start, self.offsets[position + 1])
        last = max(bounds, default=-1)
        return tuple(slice(*bounds.get(group, (0, 0))) for group in range(last + 1))

    def views(self, vector: Tensor) -> list[Tensor]:
        """Return each tensor as a shaped view into ``vector`` (size,)."""
        return [
            vector[offset : offset + count].view(shape)
            for offset, count, shape in zip(self.offsets, self.counts, self.shapes, strict=False)
        ]

    def group_views(self, group: int, vector: Tensor) -> list[Tensor]:
        """Return each tensor of a parameter group as a shaped view into a ``vector`` over the group."""
        start = self.group_slices[group].start
        return [
            vector[offset - start : offset - start + count].view(shape)
            for offset, count, shape, own in zip(self.offsets, self.counts, self.shapes, self.groups, strict=False)
            if own == group
        ]

    def group_names(self, group: int) -> list[str]:
        """Return the names of the tensors of a parameter group, in the order of :meth:`group_views`."""
        return [name for name, own in zip(self.names, self.groups, strict=True) if own == group]

    def named_views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return :meth:`views` by name."""
        return dict(zip(self.names, self.views(vector), strict=True))

    def flatten(self, tensors: Iterable[Tensor | None], like: Tensor) -> Tensor:
        """Return the tensors, in the order of ``names``, as one vector like ``like``; None is zero."""
        parts = [
            like.new_zeros(count) if tensor is None else _flat(tensor, like)
            for tensor, count in zip(tensors, self.counts, strict=True)
        ]
        return torch.cat(parts) if parts else like.new_zeros(0)

    def mask(self, present: Iterable[bool], device: torch.device) -> Tensor:
        """Return a boolean vector that is true over the tensors that are ``present``."""
        counts = torch.tensor(self.counts, device=device)
        return torch.repeat_interleave(torch.tensor(list(present), device=device), counts)


class Average(NamedTuple):
    """An average of the weights that a run keeps beside them, or a difference of two, or a cotangent.

    Attributes:
        parameters: (P,) as those of the state.
        buffers: (B,) as those of the state.
        number: how many models it took in.
    """

    parameters: Tensor
    buffers: Tensor
    number: Tensor


class FlatState(NamedTuple):
    """ξ_t in flat form, and equally a difference of two states or a cotangent of one.

    Attributes:
        parameters: (P,) all trainable parameters.
        slots: one dictionary per parameter group: vectors over the group's parameters and 0-dimensional counters.
        buffers: (B,) the module buffers of floating type.
        integers: module buffers of integer type (BatchNorm's batch counter); carried along, never differentiated.
        average: an average of the weights, where one is followed.
    """

    parameters: Tensor
    slots: tuple[dict[str, Tensor], ...]
    buffers: Tensor
    integers: tuple[Tensor, ...] = ()
    average: Average | None = None

    def tensors(self) -> list[Tensor]:
        """Return the differentiable tensors in a fixed order."""
        slots = (t for own in self.slots for t in own.values())
        return [self.parameters, *slots, self.buffers, *(self.average or ())]

    def with_tensors(self, tensors: Iterable[Tensor]) -> FlatState:
        """Return this structure around other tensors, in the order of :meth:`tensors`."""
        values = iter(tensors)
        parameters = next(values)
        slots = tuple({name: next(values) for name in slots} for slots in self.slots)
        buffers = next(values)
        average = None if self.average is None else Average(*(next(values) for _ in self.average))
        return FlatState(parameters, slots, buffers, self.integers, average)

    @property
    def bare(self) -> FlatState:
        """The state without an average."""
        return self if self.average is None else self._replace(average=None)

    def clone(self) -> FlatState:
        """Return a deep copy."""
        return self.with_tensors(t.clone() for t in self.tensors())._replace(
            integers=tuple(t.clone() for t in self.integers)
        )

    @property
    def nbytes(self) -> int:
        """Memory of one such state in bytes."""
        return sum(t.nbytes for t in self.tensors())


def alike(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have one shape and dtype."""
    return one.shape == other.shape and one.dtype == other.dtype


def inner(a: FlatState, b: FlatState) -> Tensor:
    """Return ⟨a, b⟩ over parameters, optimizer slots and buffers, its parts added up in double precision."""
    pairs = [(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True) if x.numel()]
    return torch.stack([(torch.dot(x, y) if x.dim() else x * y).double() for x, y in pairs]).sum()


def difference(a: FlatState, b: FlatState) -> FlatState:
    """Return a − b."""
    return a.with_tensors(x - y for x, y in zip(a.tensors(), b.tensors(), strict=True))


def total(a: FlatState, b: FlatState) -> FlatState:
    """Return a + b."""
    return a.with_tensors(x + y for x, y in zip(a.tensors(), b.tensors(), strict=True))


def zeros_like(state: FlatState) -> FlatState:
    """Return the zero of the state space."""
    return state.with_tensors(torch.zeros_like(t) for t in state.tensors())


def _flat(tensor: Tensor, like: Tensor) -> Tensor:
    flat = (tensor.to_dense() if tensor.is_sparse else tensor).reshape(-1)
    # Looking takes a fraction of what a conversion to what it is takes.
    return flat if flat.dtype == like.dtype and flat.device == like.device else flat.to(like)
