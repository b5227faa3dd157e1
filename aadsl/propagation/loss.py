"""What a loss is, and what is said of something that is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aadsl.core.arguments import shown
from aadsl.core.calls import user_call, wrapped
from aadsl.core.errors import AadslError

LossFunction = Callable[[nn.Module, Any], Tensor]
"""``loss(model, batch)``: the mean loss of the batch as a scalar tensor."""


def evaluated(loss: LossFunction, model: nn.Module, batch: Any) -> Tensor:
    """Return the loss of a model on a batch, a scalar.

    Raises:
        AadslError: the loss fails, or it returns something else; says what a batch is, or what to return.
    """
    return _scalar(user_call("the loss", loss, model, batch), loss)


def _scalar(value: Any, loss: LossFunction) -> Tensor:
    """Return what a loss returned, if that is one number, with a gradient where gradients are asked for."""
    if not isinstance(value, Tensor):
        raise AadslError(
            f"the loss returned {_named(value)}, not one number as a tensor", hint=wrapped(loss) or _alone(value)
        )
    if value.numel() != 1:
        raise AadslError(
            f"the loss returned {value.numel()} numbers, of shape {tuple(value.shape)}, not their mean",
            hint='return the mean over the batch: ….mean(), or reduction="mean"',
        )
    if torch.is_grad_enabled() and not value.requires_grad:
        raise AadslError(
            "the loss returned a number that has no gradient: it was detached, computed under torch.no_grad(), "
            "or does not depend on what the run trained",
            hint="return the tensor on which the training loop calls backward()",
        )
    return value


def _named(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return shown(value)


def _alone(value: Any) -> str:
    if isinstance(value, Mapping) and "loss" in value:
        return 'return the loss alone: loss=lambda model, batch: fn(model, batch)["loss"]'
    if isinstance(value, (tuple, list)):
        return "return the loss alone: loss=lambda model, batch: fn(model, batch)[0]"
    if isinstance(value, (int, float)):
        return "return the tensor itself, without .item()"
    return (
        "let the function end with: return loss" if value is None else "return the tensor on which backward() is called"
    )
