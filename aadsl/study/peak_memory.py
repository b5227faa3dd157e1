"""How much memory a piece of work holds at its peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_of(work: Callable[[], object], device: torch.device) -> int:
    """Return how many bytes of tensors on ``device`` ``work()`` holds at its peak, beyond those held before.

    On a GPU its allocator is asked. Elsewhere every operator is watched, since PyTorch keeps no peak there and its
    profiler takes a second to start; what an operator allocates only for itself is not seen.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        peak = torch.cuda.max_memory_allocated(device) - before
    else:
        with _Allocations() as allocations:
            result = work()
        peak = allocations.peak
    del result  # what it returns counts as held
    return peak


class _Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Counts the storages that operators make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._known.update(_storages((args, kwargs)))  # a result may be a view of what was there before
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._known:
                self._known.add(storage)
                self.held += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes()).atexit = False
        self.peak = max(self.peak, self.held)
        return result

    def _free(self, nbytes: int) -> None:
        self.held -= nbytes


def _storages(values: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
