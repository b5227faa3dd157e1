"""The buffers of a model that are part of the state, where the model itself looks for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aadsl.core.errors import AadslError
from aadsl.propagation.aligned import AlignedTensors
from aadsl.propagation.layout import Layout


class ModelBuffers:
    """Loads buffers into a model and reads them back.

    A forward pass may change a buffer in place, or put another tensor in its place (``self.mean = …``): what it left
    there is copied into the memory of the first one, which then takes its place again.

    Args:
        model: the model, whose buffers get other memory.
        layout: the floating ones.
        integers: names of the others.
        like: a tensor of the floating ones' dtype and device.
    """

    def __init__(self, model: nn.Module, layout: Layout, integers: Sequence[str], like: Tensor) -> None:
        own, modules = dict(model.named_buffers()), dict(model.named_modules())
        self._floating = AlignedTensors(layout, like)
        for name, memory in zip(layout.names, self._floating.tensors, strict=True):
            if name in own:
                own[name].data = memory
        # Of what the model does not have, and another run's does, the values that were loaded last.
        self._integers = [own.get(name, torch.zeros((), dtype=torch.int64)) for name in integers]
        self._absent = [name not in own for name in integers]
        self._places = []
        for name in (name for name in (*layout.names, *integers) if name in own):
            module, _, key = name.rpartition(".")
            self._places.append((modules[module]._buffers, key, own[name]))

    @torch.no_grad()
    def load(self, floating: Tensor, integers: Sequence[Tensor]) -> None:
        """Copy ``floating`` (B,) and each of ``integers`` into the model."""
        for home, key, tensor in self._places:
            if home[key] is not tensor:
                home[key] = tensor
        if floating.numel():
            self._floating.load(floating)
        for place, value in enumerate(integers):
            if self._absent[place]:
                self._integers[place] = value
            else:
                self._integers[place].copy_(value)

    def loaded(self) -> Tensor:
        """Return a copy of the floating buffers as they were loaded, (B,)."""
        return self._floating.flat()

    def now(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return copies of the floating buffers (B,) and of the others, as forward passes left them.

        Raises:
            AadslError: a buffer has another shape than before.
        """
        for home, key, tensor in self._places:
            found = home[key]
            if found is tensor:
                continue
            if found is None or found.shape != tensor.shape:
                shape = "nothing" if found is None else f"shape {tuple(found.shape)}"
                raise AadslError(
                    f'the forward pass leaves {shape} in the buffer "{key}", which had shape {tuple(tensor.shape)}',
                    hint="keep what grows in a plain attribute, or give the buffer its final shape from the start",
                )
            with torch.no_grad():
                tensor.copy_(found)
            home[key] = tensor
        return self._floating.flat(), tuple(own.clone() for own in self._integers)
