"""Linear layers of many runs at once, y_n = x_n W_nᵀ + b_n.

PyTorch's own rule for ``torch.vmap`` leaves the gradients of stacked weights transposed, and turning them takes as long
as an optimizer's step. Here they come as they are stored, and where all runs read the same x, of all in one product,
∇W = gᵀ x with the rows of all W_n below each other.

A rule of one's own is an ``autograd.Function`` with a ``vmap`` method. To be called through it takes 0.2 ms a layer, a
fourth of a small step, so a layer is computed on the stacks themselves, as such a method would be called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import _add_batch_dim, _unwrap_batched, maybe_current_level
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
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
            result = _stacked(*args, *given.values())
            if result is not None:
                return result
        return func(*args, **given)


def _stacked(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """Return y = x Wᵀ + b of each run, x (…, I), W (O, I), b (O,); None where W or b is the same for all of them."""
    level = maybe_current_level()
    if level is None:
        return None
    (inputs, of_input), (weights, of_weight) = (_unwrap_batched(tensor, level) for tensor in (x, weight))
    biases, of_bias = (None, 0) if bias is None else _unwrap_batched(bias, level)
    if of_weight is None or of_bias is None:
        return None
    weights = weights.movedim(of_weight, 0)
    biases = None if biases is None else biases.movedim(of_bias, 0)
    stacked = inputs.expand(len(weights), *inputs.shape) if of_input is None else inputs.movedim(of_input, 0)
    with temporarily_pop_interpreter_stack():
        result = _Stacked.apply(stacked, weights, biases, of_input is None)  # type: ignore[no-untyped-call]
    return _add_batch_dim(result, 0, level)


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
