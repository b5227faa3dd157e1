"""The switches that decide which kernels PyTorch takes, and with them the last bits of every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import backends

Kernels = Mapping[str, str]
"""Positions of switches by name, as texts."""

DETERMINISTIC = "deterministic_algorithms"
NONDETERMINISTIC = (
    "recording on a GPU with kernels that are not deterministic: replays may round otherwise than the run, and effects "
    "below that are noise; use_deterministic_algorithms(True) before training, with CUBLAS_WORKSPACE_CONFIG=:4096:8 in "
    "the environment, makes replays equal to the bit and training 1.1 to 1.4 times as long"
)


def _flag(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[str], None]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value == "True")


def _set_deterministic(value: str) -> None:
    # A derivative may need an operation that has no deterministic kernel; the training itself had none such.
    torch.use_deterministic_algorithms(value == "True", warn_only=True)


AUTOCAST = "autocast"
"""Beside the switches: the dtype of a ``torch.autocast`` around everything."""
_LOWER = {"bfloat16": torch.bfloat16, "float16": torch.float16}

Switch = tuple[Callable[[], Any], Callable[[str], None]]

_EVERYWHERE: dict[str, Switch] = {
    DETERMINISTIC: (torch.are_deterministic_algorithms_enabled, _set_deterministic),
    "float32_matmul_precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
}
_ON_CUDA: dict[str, Switch] = {
    "cudnn_benchmark": _flag(backends.cudnn, "benchmark"),
    "cudnn_deterministic": _flag(backends.cudnn, "deterministic"),
    "cudnn_allow_tf32": _flag(backends.cudnn, "allow_tf32"),
    "matmul_allow_fp16_reduction": _flag(backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    "matmul_allow_bf16_reduction": _flag(backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
}
_SWITCHES = _EVERYWHERE | _ON_CUDA
_POSITIONS = {"float32_matmul_precision": ("highest", "high", "medium")}


def kernels_now(device: torch.device) -> dict[str, str]:
    """Return the positions of the switches that count on a device."""
    return _read(_SWITCHES if device.type == "cuda" else _EVERYWHERE)


def are_positions(kernels: Any) -> bool:
    """Return whether these are positions that switches can have; a recording may claim any."""
    if not isinstance(kernels, dict):
        return False
    return all(value in _POSITIONS.get(name, ("True", "False")) for name, value in kernels.items())


def _read(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with suppress(RuntimeError):  # PyTorch cannot tell where the older and the newer way to set it were mixed
            found[name] = str(_SWITCHES[name][0]())
    return found


def under(kernels: Kernels) -> AbstractContextManager[None]:
    """Turn the switches as they were; afterwards they are as before."""
    before = _read(name for name in kernels if name in _SWITCHES)
    # At most steps they are already; a context of its own costs a step of a small network more than looking.
    return nullcontext() if before == kernels else _turned(kernels, before)


@contextmanager
def _turned(kernels: Kernels, before: Kernels) -> Iterator[None]:
    moved = [name for name, position in before.items() if position != kernels[name]]
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        for name in moved:
            _SWITCHES[name][1](kernels[name])
        with _lowered(kernels.get(AUTOCAST, "")):
            yield
    finally:
        for name in moved:
            _SWITCHES[name][1](before[name])
        if DETERMINISTIC in moved:
            torch.use_deterministic_algorithms(before[DETERMINISTIC] == "True", warn_only=warn_only)


@contextmanager
def _lowered(dtype: str) -> Iterator[None]:
    if dtype not in _LOWER:
        yield
        return
    with torch.autocast("cpu", _LOWER[dtype]), torch.autocast("cuda", _LOWER[dtype], torch.cuda.is_available()):
        yield


def tell_of_nondeterminism(device: torch.device) -> None:
    """Say once in a process that training on a GPU is not reproducible, and what would make it so."""
    if device.type == "cuda" and not torch.are_deterministic_algorithms_enabled():
        warnings.warn(NONDETERMINISTIC, stacklevel=2)
