"""The state of a training run: all that one optimizer step reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """ξ_t: parameters, optimizer buffers and module buffers at one step.

    Attributes:
        parameters: trainable parameters by their name in ``model.named_parameters()``.
        optimizer: slot (``"momentum_buffer"``, ``"exp_avg"``, ``"step"`` …) → parameter name → tensor. A slot
            that PyTorch has not created yet (before the first step) is absent.
        buffers: module buffers by their name in ``model.named_buffers()``.
        average: of an average of the weights that the loop keeps: ``"parameters"``, ``"buffers"`` → name → tensor, and
            ``"count"`` → "" → how many models it took in since it was followed; empty where none is.
    """

    parameters: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    buffers: dict[str, Tensor]
    average: Mapping[str, dict[str, Tensor]] = MappingProxyType({})
