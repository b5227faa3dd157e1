"""What the operations of PyTorch read and write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Access(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Notes whether an operation within reads the memory of some tensors, by whatever view; none writes to others.

    What leaves PyTorch without an operation of it (``.data.numpy()``) is not seen.

    Args:
        sought: the tensors of which it is noted.
        guarded: those that are not to be written to, by name: an operation that would raises RuntimeError instead.

    Attributes:
        read: whether one of the former was read.
        written: the name of the latter that was to be written to first; "" where none was.
    """

    supports_higher_order_operators = True  # what is traced as a whole is let through

    def __init__(self, sought: Iterable[Tensor], guarded: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read, self.written = False, ""
        self._sought = {_memory(tensor) for tensor in sought if tensor.numel()}
        self._guarded = {_memory(tensor): name for name, tensor in guarded.items() if tensor.numel()}

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, given: Any = (), named: Any = None) -> Any:
        """Call the operation."""
        named = named or {}
        if not self.read:
            self.read = any(_memory(one) in self._sought for one in _tensors((given, named)))
        for one in _changed(function, given, named) if self._guarded else ():
            if name := self._guarded.get(_memory(one), ""):
                self.written = self.written or name
                raise RuntimeError(f"{name} is not to be written to")
        return function(*given, **named)


def _changed(function: Any, given: Any, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operation changes in place."""
    schema = getattr(function, "_schema", None)  # what is traced as a whole has none
    for place, argument in enumerate(() if schema is None else schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(given[place] if place < len(given) else named.get(argument.name))


def _tensors(values: Any) -> Iterator[Tensor]:
    return (one for one in tree_leaves(values) if isinstance(one, Tensor))


def _memory(tensor: Tensor) -> int:
    """Return where a tensor's memory is; -1 where that is not told, as of sparse ones."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (NotImplementedError, RuntimeError):
        return -1
