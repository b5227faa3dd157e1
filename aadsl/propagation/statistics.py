"""Running statistics of normalization layers as differentiable functions.

PyTorch updates them in place, outside the graph, and gives no derivative for reading them in eval mode. A stage can
change a behavior through them alone, so both directions are made explicit here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class RunningStatistics:
    """Watches the BatchNorm layers of a model.

    While :meth:`tracing`, a layer in train mode also computes its updated statistics
    r' = (1 − m) r + m·stat(x) inside the graph, and a layer in eval mode normalizes with statistics that can be
    differentiated. ``current`` maps buffer names to the traced tensors.
    """

    def __init__(self, model: nn.Module) -> None:
        self.current: dict[str, Tensor] = {}
        self._tracing = False
        self._layers = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats and module.running_mean is not None
        }
        for name, module in self._layers.items():
            module.register_forward_hook(self._hook(name))

    @property
    def names(self) -> set[str]:
        """Names of the floating buffers that these layers keep."""
        return {_join(name, kind) for name in self._layers for kind in ("running_mean", "running_var")}

    @contextmanager
    def tracing(self, statistics: Mapping[str, Tensor]) -> Iterator[None]:
        """Trace from these differentiable ``statistics``; afterwards ``current`` holds the updated ones."""
        self.current, self._tracing = dict(statistics), True
        try:
            yield
        finally:
            self._tracing = False

    def retention(self) -> dict[str, float]:
        """Return ∂r'/∂r = 1 − m of each statistic, for a step in train mode with the layers' present counters."""
        factors = {}
        for name, layer in self._layers.items():
            kept = 1.0 - _momentum(layer, after_forward=False) if layer.training else 1.0
            factors[_join(name, "running_mean")] = factors[_join(name, "running_var")] = kept
        return factors

    def _hook(self, name: str) -> Any:
        mean_name, variance_name = _join(name, "running_mean"), _join(name, "running_var")

        def hook(layer: _BatchNorm, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._tracing or mean_name not in self.current:
                return None
            (x,) = inputs
            mean, variance = self.current[mean_name], self.current[variance_name]
            if layer.training:
                m = _momentum(layer, after_forward=True)
                known = layer.running_mean.clone(), layer.running_var.clone()  # type: ignore[union-attr]
                updated = _Updated.apply(x, mean, variance, *known, m)  # type: ignore[no-untyped-call]
                self.current[mean_name], self.current[variance_name] = updated
                return None
            shape = _by_channel(x)
            normalized = (x - mean.view(shape)) * torch.rsqrt(variance.view(shape) + layer.eps)
            if layer.weight is None:
                return normalized
            return normalized * layer.weight.view(shape) + layer.bias.view(shape)

        return hook


class _Updated(torch.autograd.Function):
    """r' = (1 − m) r + m·stat(x) for mean and variance, whose values the layer has computed already.

    With n values x_i a channel, ∂mean/∂x_i = 1/n and ∂variance/∂x_i = 2 (x_i − mean) / (n − 1): for cotangents of
    both, one multiply-add over x, which may be differentiated in the cotangents only. Reductions inside the graph,
    forwards and backwards, would cost as much as the loss.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, new_mean: Tensor, new_variance: Tensor, m: float
    ) -> tuple[Tensor, Tensor]:
        # The batch's mean follows from what the layer computed; with m = 0 nothing depends on it.
        ctx.save_for_backward(x, (new_mean - (1 - m) * mean) / (m or 1.0))
        ctx.m = m
        return new_mean, new_variance

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (x, batch_mean), m = ctx.saved_tensors, ctx.m
        of_mean, of_variance = cotangents
        count, shape = x.numel() // x.shape[1], _by_channel(x)
        slope = 2 * m / (count - 1) * of_variance
        offset = m / count * of_mean - slope * batch_mean
        of_x = torch.addcmul(offset.view(shape), x, slope.view(shape))
        return of_x, (1 - m) * of_mean, (1 - m) * of_variance, None, None, None


def _by_channel(x: Tensor) -> list[int]:
    """Return the shape in which one number a channel multiplies ``x``."""
    return [-1 if d == 1 else 1 for d in range(x.dim())]


def _join(module: str, buffer: str) -> str:
    return f"{module}.{buffer}" if module else buffer


def _momentum(layer: _BatchNorm, *, after_forward: bool) -> float:
    """Return m; a layer without momentum averages all batches so far with equal weight."""
    if layer.momentum is not None:
        return float(layer.momentum)
    counted = int(layer.num_batches_tracked) if layer.num_batches_tracked is not None else 0
    return 1.0 / (counted if after_forward else counted + 1)
