"""What one forward and backward pass gives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Evaluation(NamedTuple):
    """What one forward and backward pass gives.

    Attributes:
        loss: of the step, a scalar.
        gradient: (P,) its gradient.
        present: (P,) false over parameters that took no part in the loss; None where all did.
        buffers: (B,) buffers after the forward pass.
        integers: integer buffers after the forward pass.
    """

    loss: Tensor
    gradient: Tensor
    present: Tensor | None
    buffers: Tensor
    integers: tuple[Tensor, ...]
