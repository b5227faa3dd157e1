"""Behaviors of regression models."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

from torch import Tensor, nn

from aadsl.behaviors.base import inputs_and_targets, unwrapped
from aadsl.core.errors import AadslError


@dataclass(frozen=True)
class SquaredError:
    """Squared error of ``model(inputs)``, averaged over outputs: a positive effect means that the stage hurt."""

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "squared units of the target"
    limits: ClassVar[tuple[float, float]] = (0.0, inf)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return the mean squared error of each example, (n,)."""
        inputs, targets = inputs_and_targets(examples)
        outputs = unwrapped(model(inputs))
        if not isinstance(outputs, Tensor) or outputs.numel() != targets.numel() or len(outputs) != len(targets):
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise AadslError(
                f"squared_error needs as many outputs as targets; model(inputs) gave {shape}, targets are "
                f"{tuple(targets.shape)}",
                hint="for other models give a callable fn(model, examples) that returns one number an example",
            )
        errors: Tensor = outputs.reshape(len(targets), -1) - targets.reshape(len(targets), -1)
        return errors.square().mean(dim=1)
