"""Where the states of a stretch wait until a sweep comes back to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

Coming = Callable[[], list[Tensor]]
"""What was asked back: called when it is needed, it returns the tensors."""


class Shelf:
    """Memory of the CPU, used again for one stretch after the other.

    The system hands fresh memory over page by page, zeroed, which takes ten times as long as writing to it.

    Attributes:
        near: whether what waits can be computed with as it is.
    """

    near = True

    def __init__(self) -> None:
        self._places: dict[int, list[Tensor]] = {}

    @classmethod
    def beside(cls, device: torch.device) -> Shelf:
        """Return a shelf for states that are computed with on ``device``."""
        return cls() if device.type == "cpu" else HostShelf(device)

    def keep(self, place: int, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return ``tensors`` as they wait, in the memory of those of this place before."""
        if place not in self._places:
            self._places[place] = self._room(tensors)
        self._move(tensors, self._places[place])
        return self._places[place]

    def bring(self, waiting: Sequence[Tensor]) -> Coming:
        """Begin to bring back what waits, to be computed with."""
        return partial(list, waiting)

    def clear(self) -> None:
        """Give the memory back."""
        self._places.clear()

    def _room(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [torch.empty_like(tensor) for tensor in tensors]

    def _move(self, tensors: Sequence[Tensor], places: Sequence[Tensor]) -> None:
        for tensor, place in zip(tensors, places, strict=True):
            place.copy_(tensor, non_blocking=True)


class HostShelf(Shelf):
    """Pinned memory of the host: states of a GPU go there, and come back, beside what it computes.

    Args:
        device: where states are computed with.
    """

    near = False

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def bring(self, waiting: Sequence[Tensor]) -> Coming:
        """Begin to bring back what waits, to be computed with."""
        back = [torch.empty_like(tensor, device=self._device) for tensor in waiting]
        self._move(waiting, back)
        return partial(self._arrived, back, self._stream and self._stream.record_event())

    def _arrived(self, back: list[Tensor], copied: Any) -> list[Tensor]:
        if copied is not None:
            torch.cuda.current_stream(self._device).wait_event(copied)
        return back

    def _room(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [torch.empty_like(tensor, device="cpu", pin_memory=self._stream is not None) for tensor in tensors]

    def _move(self, tensors: Sequence[Tensor], places: Sequence[Tensor]) -> None:
        """Copy on a stream of its own: in order, so that nothing is overwritten before it was copied."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            super()._move(tensors, places)
        for tensor in (*tensors, *places):
            if tensor.is_cuda:
                tensor.record_stream(self._stream)
