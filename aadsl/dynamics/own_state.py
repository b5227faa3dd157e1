"""What a torch optimizer keeps of its parameters, as named tensors and as vectors, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.dynamics.base import Slots

_DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64}  # of numbers; a bool is an int as well


def leaves(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors and numbers in a value of an optimizer's state; the members of containers are numbered."""
    if isinstance(value, Tensor):
        yield path, value
    elif (dtype := _dtype_of(value)) is not None:
        yield path, torch.tensor(value, dtype=dtype)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from leaves(item, f"{path}.{position}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")


def leaves_of(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors and numbers in ``optimizer.state[parameter]`` by their path."""
    return {path: leaf for key, value in state.items() for path, leaf in leaves(value, str(key))}


class Leaf(NamedTuple):
    """One tensor or number that an optimizer keeps of the parameter ``name``."""

    name: str
    path: str
    shape: tuple[int, ...]


class StateVectors:
    """The state of an optimizer of one parameter group as vectors: those of one path lie in one, end to end.

    A last vector holds for each of them 1 where it is there, and 0 where the optimizer has not made it yet.

    Args:
        kind: the optimizer's name, which begins those of the vectors.
        states: for each parameter of the group a state in which everything is there.
    """

    def __init__(self, kind: str, states: Mapping[str, Mapping[Any, Any]]) -> None:
        self._kind, self._states = kind, states
        self._vectors: dict[str, list[Leaf]] = {}
        self._like: dict[str, Tensor] = {}
        for name, state in states.items():
            for path, leaf in leaves_of(state).items():
                if leaf.is_complex():
                    raise AadslError(f"{kind} keeps complex numbers ({path}), which cannot be replayed")
                self._vectors.setdefault(path, []).append(Leaf(name, path, tuple(leaf.shape)))
                dtype = leaf.dtype if leaf.dtype.is_floating_point else torch.float64
                self._like.setdefault(path, torch.empty(0, dtype=dtype))
        self._known = {(leaf.name, leaf.path) for own in self._vectors.values() for leaf in own}

    def packed(self, found: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> Slots:
        """Return as vectors what is ``found`` of each parameter by path.

        Raises:
            AadslError: the optimizer keeps something else than it is known to.
        """
        for name, own in found.items():
            for path in own:
                if (name, path) not in self._known:
                    raise AadslError(f'{self._kind} keeps "{path}" in its state, which is not there after a first step')
        slots: Slots = {}
        there: list[bool] = []
        for path, kept in self._vectors.items():
            parts = [found.get(leaf.name, {}).get(path) for leaf in kept]
            there += [part is not None for part in parts]
            like = self._like[path].to(device)
            slots[self._name(path)] = torch.cat([_vector(*pair, like) for pair in zip(kept, parts, strict=True)])
        if there:
            slots[self._name("is_there")] = torch.tensor(there, dtype=torch.float64, device=device)
        return slots

    def unpacked(self, slots: Slots) -> dict[str, dict[Any, Any]]:
        """Return the state of each parameter of which there is one, in memory of its own."""
        if not self._vectors:
            return {}
        found: dict[str, dict[str, Tensor]] = {}
        for (leaf, part), there in zip(self._parts(slots), slots[self._name("is_there")].tolist(), strict=True):
            if there:
                found.setdefault(leaf.name, {})[leaf.path] = part
        return {name: _rebuilt(self._states[name], own, "") for name, own in found.items()}

    def kept(self, slots: Slots) -> dict[str, dict[str, Tensor]]:
        """Return the tensors and numbers of each parameter by path, as views; zeros where they are not there yet."""
        found: dict[str, dict[str, Tensor]] = {}
        for leaf, part in self._parts(slots):
            found.setdefault(leaf.name, {})[leaf.path] = part
        return found

    def _parts(self, slots: Slots) -> Iterator[tuple[Leaf, Tensor]]:
        for path, own in self._vectors.items():
            parts = torch.split(slots[self._name(path)], [prod(leaf.shape) for leaf in own])
            yield from ((leaf, part.view(leaf.shape)) for leaf, part in zip(own, parts, strict=True))

    def joined(self, found: Mapping[str, Mapping[str, Tensor]], before: Slots) -> Slots:
        """Return ``before`` with what is ``found`` of some parameters in its place, and there from now on."""
        kept, there = self.kept(before), []
        after = dict(before)
        for path, own in self._vectors.items():
            parts = [found.get(leaf.name, kept[leaf.name])[path].reshape(-1) for leaf in own]
            there += [leaf.name in found for leaf in own]
            after[self._name(path)] = torch.cat(parts)
        known = before[self._name("is_there")]
        after[self._name("is_there")] = torch.where(torch.tensor(there, device=known.device), 1.0, known)
        return after

    def _name(self, path: str) -> str:
        return f"{self._kind}.{path}"


def _vector(leaf: Leaf, part: Tensor | None, like: Tensor) -> Tensor:
    if part is None:
        return like.new_zeros(prod(leaf.shape))
    if tuple(part.shape) != leaf.shape:
        raise AadslError(f'what the optimizer keeps as "{leaf.path}" of "{leaf.name}" changes its shape')
    return part.detach().reshape(-1).to(like)


def _rebuilt(value: Any, found: Mapping[str, Tensor], path: str) -> Any:
    """Return a value of a state with the tensors and numbers that are ``found``; those that are not are left out."""
    if isinstance(value, Tensor):
        return torch.empty_like(value).copy_(found[path])
    if _dtype_of(value) is not None:
        return type(value)(found[path].item())
    if isinstance(value, dict):
        inside = [(key, item, f"{path}.{key}" if path else str(key)) for key, item in value.items()]
        return {key: _rebuilt(item, found, place) for key, item, place in inside if _is_there(item, found, place)}
    if isinstance(value, (list, tuple)):
        return type(value)([_rebuilt(item, found, f"{path}.{position}") for position, item in enumerate(value)])
    return value


def _dtype_of(value: Any) -> torch.dtype | None:
    return next((dtype for kind, dtype in _DTYPES.items() if isinstance(value, kind)), None)


def _is_there(value: Any, found: Mapping[str, Tensor], path: str) -> bool:
    own = [path for path, _ in leaves(value, path)]
    return not own or any(path in found for path in own)
