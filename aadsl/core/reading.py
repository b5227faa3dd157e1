"""Whether what is computed reads some tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Notes whether an operation within reads the memory of ``tensors``, by whatever view of it.

    What leaves PyTorch without an operation of it (``.data.numpy()``) is not seen.

    Attributes:
        any: whether one did.
    """

    supports_higher_order_operators = True

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.any = False
        self._memory = {_memory(tensor) for tensor in tensors if tensor.numel()}

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, given: Any = (), named: Any = None) -> Any:
        """Call the operation."""
        named = named or {}
        if not self.any:
            read = (one for one in tree_leaves((given, named)) if isinstance(one, Tensor))
            self.any = any(_memory(one) in self._memory for one in read)
        return function(*given, **named)


def _memory(tensor: Tensor) -> int:
    """Return where a tensor's memory is; -1 where that is not told, as of sparse ones."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (NotImplementedError, RuntimeError):
        return -1
