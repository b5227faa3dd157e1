"""Memory formats: in which order the elements of images lie, which decides their kernels, and so the last bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

INPUTS_FORMAT = "inputs_memory_format"
"""Metadata that the recorder gives itself: the memory format of what the model was called on, "" for the usual one."""

FORMATS = {4: "channels_last", 5: "channels_last_3d"}
"""Those that are not the usual one, by the number of dimensions."""


def format_of(tensor: Tensor) -> str:
    """Return the memory format that PyTorch takes a tensor to have: one of ``FORMATS``, or "" for any other.

    Its strides decide, also where a side is 1, so that the elements of several formats lie alike.
    """
    if tensor.ndim not in FORMATS or not tensor.stride(1):
        return ""
    strides, least = tensor.stride(), 0
    for side in (1, *range(tensor.ndim - 1, 1, -1), 0):
        if strides[side] < least or (side == 0 and least == strides[1]):
            return ""
        least = strides[side] * max(1, tensor.shape[side])
    return FORMATS[tensor.ndim]


def shaped(flat: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """Return a view of the elements of ``flat`` as a tensor of a shape and memory format."""
    if not name:
        return flat.view(shape)
    first, channels, *sides = shape
    return flat.view(first, *sides, channels).movedim(-1, 1)


def arranged(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor in a memory format, itself where it has it; of another number of dimensions as it is."""
    if name not in ("", FORMATS.get(tensor.ndim)) or format_of(tensor) == name:
        return tensor
    return tensor.to(memory_format=getattr(torch, name or "contiguous_format"))


def called_in(model: nn.Module, name: str) -> AbstractContextManager[None]:
    """Let a model be called on tensors in a memory format, "" for as they are."""
    return _brought(model, name) if name else nullcontext()


@contextmanager
def _brought(model: nn.Module, name: str) -> Iterator[None]:
    def brought(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(arranged(one, name) if isinstance(one, Tensor) else one for one in given)

    handle = model.register_forward_pre_hook(brought)
    try:
        yield
    finally:
        handle.remove()
