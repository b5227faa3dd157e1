"""The memory that a model's tensors lie in, each at an aligned address, as PyTorch's own allocations are."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from aadsl.core.formats import shaped
from aadsl.propagation.layout import Layout

# 64 bytes in single precision. Matrix kernels choose their order of summation by alignment, and a replay must give the
# recorded bits.
ALIGNMENT = 16


class AlignedTensors:
    """Tensors of a layout in one piece of memory. The gaps between them exist here alone: flat vectors have none.

    Args:
        layout: their shapes, in flat order.
        like: a tensor of their dtype and device.

    Attributes:
        tensors: the tensors, shaped.
    """

    def __init__(self, layout: Layout, like: Tensor) -> None:
        self._counts = list(layout.counts)
        *starts, end = accumulate((count + -count % ALIGNMENT for count in self._counts), initial=0)
        last = starts[-1] + self._counts[-1] if starts else end
        self._memory = like.new_zeros(last)
        parts = [self._memory[a : a + count] for a, count in zip(starts, self._counts, strict=True)]
        places = zip(parts, layout.shapes, layout.formats, strict=True)
        self.tensors = [shaped(part, shape, lies) for part, shape, lies in places]
        self._shapes = layout.shapes if any(layout.formats) else ()
        # What lies in the usual order is copied as it lies.
        self._parts = self.tensors if self._shapes else parts
        self._dense = last == layout.size and not self._shapes

    def load(self, vector: Tensor, shift: tuple[float, Tensor] | None = None) -> None:
        """Copy ``vector`` (size,) into the tensors, or vector + h·e for a ``shift`` (h, e)."""
        targets, values = self._pieces(vector)
        if shift is None:
            torch._foreach_copy_(targets, values)
            return
        for target, value, e in zip(targets, values, self._pieces(shift[1])[1], strict=True):
            torch.add(value, e, alpha=shift[0], out=target)

    def _pieces(self, vector: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the memory of the tensors, and what of ``vector`` goes there; in one piece where there are no gaps."""
        if self._dense:
            return [self._memory], [vector]
        values = list(torch.split(vector, self._counts))
        if self._shapes:
            values = [value.view(shape) for value, shape in zip(values, self._shapes, strict=True)]
        return self._parts, values

    def flat(self) -> Tensor:
        """Return a copy of all elements, (size,)."""
        return self._memory.clone() if self._dense else torch.cat([part.reshape(-1) for part in self._parts])
