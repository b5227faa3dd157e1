"""Linear layers of many runs at once, y_n = x_n W_nᵀ + b_n.

PyTorch's own rule for ``torch.vmap`` leaves the gradients of stacked weights transposed, and turning them takes as long
as an optimizer's step. Here they come as they are stored, and where all runs read the same x, of all in one product,
∇W = gᵀ x with the rows of all W_n below each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class StackedLinear(TorchFunctionMode):
    """Within it linear layers under ``torch.vmap`` are computed so; where autocast changes their precision, as ever."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute a linear layer, or whatever else."""
        given = kwargs or {}
        if func is linear and len(args) + len(given) == 3 and not torch.is_autocast_enabled(args[0].device.type):
            return _Linear.apply(*args, *given.values())  # type: ignore[no-untyped-call]
        return func(*args, **given)


class _Linear(torch.autograd.Function):
    """y = x Wᵀ + b of one run, x (…, I), W (O, I), b (O,) or None; and how ``torch.vmap`` stacks it."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.biased = inputs[0], inputs[1], inputs[2] is not None
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        own = rows.mT @ x.reshape(-1, x.shape[-1])
        return gradient @ weight, own, rows.sum(0) if ctx.biased else None

    @staticmethod
    def vmap(
        info: Any, places: tuple[int | None, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        if places[1] is None or (bias is not None and places[2] is None):  # one of them is the same for all
            return torch.vmap(linear, places)(x, weight, bias), 0
        weight = weight.movedim(places[1], 0)
        bias = None if bias is None else bias.movedim(places[2] or 0, 0)
        of_each = x.expand(len(weight), *x.shape) if places[0] is None else x.movedim(places[0], 0)
        result = _Stacked.apply(of_each, weight, bias, places[0] is None)  # type: ignore[no-untyped-call]
        return result, 0


class _Stacked(torch.autograd.Function):
    """y (n, …, O) of x (n, …, I), W (n, O, I), b (n, O) or None; ``shared``: whether all x_n are the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shared: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased, ctx.shared = bias is not None, shared
        rows = _rows(x)
        result = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        rows = _rows(gradient)
        back = torch.bmm(rows, weight).view(x.shape) if ctx.needs_input_grad[0] else None
        own = rows.mT.flatten(0, 1) @ _rows(x)[0] if ctx.shared else torch.bmm(rows.mT, _rows(x))
        return back, own.view(weight.shape), rows.sum(1) if ctx.biased else None, None


def _rows(values: Tensor) -> Tensor:
    """Return (n, …, k) as (n, m, k)."""
    return values.reshape(len(values), -1, values.shape[-1])
