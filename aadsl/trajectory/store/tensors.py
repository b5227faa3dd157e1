"""Tensors to flat netCDF variables and back, bit by bit.

All tensors of one role, slot and dtype lie one after the other in one variable (CF: a contiguous ragged array).
A variable a tensor would cost half a millisecond each, ten times what the flat copy costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aadsl.core.state import State

PackedLayout: TypeAlias = dict[str, dict[str, Any]]
"""For each variable what lies in it: ``{"role", "slot", "dtype", "tensors": [[name, shape], …]}``."""

_PLAIN = {"float32", "float64", "int8", "int16", "int32", "int64", "uint8"}
_BITS = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}


def dtype_name(dtype: torch.dtype) -> str:
    """Return ``"float32"`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def to_array(flat: Tensor) -> NDArray[Any]:
    """Return the values of a CPU tensor as a dtype netCDF has; where it has none, the bits as unsigned integers."""
    if dtype_name(flat.dtype) not in _PLAIN:
        wide = flat.dtype == torch.complex128
        flat = torch.view_as_real(flat).reshape(-1) if wide else flat.view(_BITS[flat.element_size()])
    array: NDArray[Any] = flat.numpy()
    return array


def from_array(array: NDArray[Any], dtype: str) -> Tensor:
    """Undo :func:`to_array`. Raises ValueError where the array cannot come of it: its bits would mean other numbers."""
    wanted: torch.dtype = getattr(torch, dtype)
    if array.dtype != _stored_as(wanted):
        raise ValueError(f"{array.dtype} does not hold {dtype}")
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if tensor.dtype == wanted else tensor.view(wanted)


@cache
def _stored_as(dtype: torch.dtype) -> np.dtype[Any]:
    return to_array(torch.empty(0, dtype=dtype)).dtype


class StateEntry(NamedTuple):
    """One tensor of a state: its ``role`` (a field of State), ``slot`` (of the optimizer) and name."""

    role: str
    slot: str
    name: str
    tensor: Tensor


@dataclass
class Packed:
    """A copy of a state on the CPU: flat tensors by variable name, and what lies in each.

    ``ready`` are the events after which copies from GPUs are complete.
    """

    flats: dict[str, Tensor]
    layout: PackedLayout
    ready: tuple[torch.cuda.Event, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all flat tensors."""
        return sum(flat.nbytes for flat in self.flats.values())


def pack(entries: Iterable[StateEntry]) -> Packed:
    """Copy tensors into flat CPU tensors; nothing is aliased.

    From a GPU they go by a copy there, into pinned memory, beside what it computes.
    """
    groups: dict[str, list[StateEntry]] = {}
    for entry in entries:
        parts = filter(None, (entry.role, entry.slot, dtype_name(entry.tensor.dtype)))
        groups.setdefault("_".join(parts).replace("/", "_"), []).append(entry)
    flats: dict[str, Tensor] = {}
    layout: PackedLayout = {}
    devices: set[torch.device] = set()
    for variable, members in groups.items():
        first = members[0]
        flats[variable] = _flatten([_dense(member) for member in members], devices)
        layout[variable] = {
            "role": first.role,
            "slot": first.slot,
            "dtype": dtype_name(first.tensor.dtype),
            "tensors": [[member.name, list(member.tensor.shape)] for member in members],
        }
    return Packed(flats, layout, tuple(_copies(device).record_event() for device in devices))


def _dense(entry: StateEntry) -> Tensor:
    """Return a tensor of the state; what an optimizer keeps of sparse gradients is sparse, and gets its zeros."""
    tensor = entry.tensor.detach()
    return tensor.to_dense() if tensor.is_sparse and entry.role == "optimizer" else tensor


def _flatten(tensors: list[Tensor], devices: set[torch.device]) -> Tensor:
    """Return the elements of tensors on the CPU; of a GPU that still copies them, the device joins ``devices``."""
    places = {tensor.device for tensor in tensors}
    try:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]) if len(places) == 1 else None
    except torch.OutOfMemoryError:  # on a device that has no room for a copy
        flat = None
    if flat is None:
        return torch.cat([tensor.reshape(-1).cpu() for tensor in tensors])
    device = flat.device
    if device.type != "cuda":
        return flat.cpu()
    devices.add(device)
    beside = _copies(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        host = torch.empty_like(flat, device="cpu", pin_memory=True).copy_(flat, non_blocking=True)
    flat.record_stream(beside)
    return host


@lru_cache
def _copies(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of a GPU's own on which states are copied."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def unpack(packed: Packed, device: str | torch.device = "cpu") -> State:
    """Return the state that was packed; its tensors are views of the flat ones."""
    average: dict[str, dict[str, Tensor]] = {}
    state = State({}, {}, {}, average)
    for variable, content in packed.layout.items():
        flat = packed.flats[variable].to(device)
        if content["role"] in ("optimizer", "average"):
            target = (average if content["role"] == "average" else state.optimizer).setdefault(content["slot"], {})
        else:
            target = getattr(state, content["role"])
        offset = 0
        for name, shape in content["tensors"]:
            size = prod(shape)
            target[name] = flat[offset : offset + size].view(shape)
            offset += size
    return state


def all_finite(packed: Packed) -> bool:
    """Return whether no floating-point value is NaN or infinite.

    NumPy computes where it can: PyTorch would start a second team of threads in the writer's thread.
    """
    for flat in packed.flats.values():
        if flat.is_complex():
            flat = torch.view_as_real(flat)
        if flat.is_floating_point():
            values = flat.numpy() if flat.element_size() >= 4 else flat.float().numpy()
            # A finite sum has finite terms; a sum that overflowed says nothing, then the terms are looked at.
            with np.errstate(all="ignore"):
                if not np.isfinite(values.sum()) and not np.isfinite(values).all():
                    return False
    return True
