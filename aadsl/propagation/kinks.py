"""Does a network have kinks? Seen in the operators that it runs, so functional ReLUs count as well as modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that are linear on each side of a kink.
PIECEWISE_LINEAR = {
    "relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "_prelu_kernel", "rrelu_with_noise", "threshold",
    "threshold_",
    "hardtanh", "hardtanh_", "hardsigmoid", "relu6", "clamp_min", "clamp", "maximum", "abs",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "max_pool2d", "mkldnn_max_pool2d",
}  # fmt: skip


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def kinks(forward: Callable[[], object]) -> set[str]:
    """Return the piecewise-linear operators that ``forward()`` runs; empty for a smooth network."""
    with torch.no_grad(), _Operators() as seen:
        forward()
    found: set[str] = seen.names & PIECEWISE_LINEAR
    return found
