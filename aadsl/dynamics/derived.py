"""Derivatives of optimizers whose steps a copy takes: the same steps as functions of tensors, to rounding.

They work on one tensor at a time, as those optimizers do, whose state has other shapes than the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any, TypeAlias

import torch
from torch import Tensor

Kept: TypeAlias = Mapping[str, Tensor]
"""What an optimizer keeps of one tensor, by path: zero, where it has not made it yet."""

StepFormula: TypeAlias = Callable[[Tensor, Tensor, Kept, Mapping[str, Any]], tuple[Tensor, Kept]]
"""Returns θ' and what is kept after a step, of θ, g, what was kept, and the options of the parameter group."""


def adafactor(parameter: Tensor, gradient: Tensor, kept: Kept, group: Mapping[str, Any]) -> tuple[Tensor, Kept]:
    """Take a step of ``torch.optim.Adafactor`` (Shazeer and Stern, 2018); G = g, or −g where it maximizes.

    n' = n + 1,   w = n'^κ,   α = max(ε₂, rms θ) · min(η, 1/√n')
    r' = r + w(mean of rows of G² − r),   c' likewise of columns,   v = r'c'/max(mean r', ε₁);   of a vector v' of G²
    u = G/√max(v, ε₁²),   θ' = (1 − ηλ) θ − α/max(1, rms u/d) · u
    """
    least, least_size = group["eps"]
    least = torch.finfo(parameter.dtype).eps if least is None else least
    gradient = -gradient if group["maximize"] else gradient
    step = kept["step"].to(parameter) + 1
    weight = step ** group["beta2_decay"]
    size = _rms(parameter).clamp(min=least_size) * step.rsqrt().clamp(max=group["lr"])
    after: dict[str, Tensor] = {"step": step.to(kept["step"])}
    if gradient.dim() > 1:
        for name, dim in (("row_var", -1), ("col_var", -2)):
            after[name] = torch.lerp(kept[name], gradient.square().mean(dim, keepdim=True), weight)
        row = after["row_var"]
        second = row @ after["col_var"] / row.mean(-2, keepdim=True).clamp(min=least)
    else:
        second = after["variance"] = torch.lerp(kept["variance"], gradient.square(), weight)
    update = second.clamp(min=least * least).rsqrt() * gradient
    size = size / (_rms(update) / group["d"]).clamp(min=1.0)
    return parameter * (1 - group["lr"] * group["weight_decay"]) - size * update, after


def adafactor_of_transformers(
    parameter: Tensor, gradient: Tensor, kept: Kept, group: Mapping[str, Any]
) -> tuple[Tensor, Kept]:
    """Take a step of the Adafactor of ``transformers``, which may find its learning rate itself.

    n' = n + 1,   β₂ = 1 − n'^κ,   η = its own or min(least, 1/√n'), times max(ε₂, rms θ) where it is scaled
    r' = β₂r + (1 − β₂) mean of rows of (g² + ε₁),   c' likewise of columns;   of a vector v' likewise of all
    u = g/√(r'c'/mean r') or g/√v',   ũ = ηu/max(1, rms u/d),   θ' = (1 − ηλ) θ − ũ, or less a mean of all ũ
    """
    least, least_size = group["eps"]
    step, rms = kept["step"].to(parameter) + 1, _rms(parameter)
    rate: Any = group["lr"]
    if group["relative_step"]:
        rate = torch.minimum(1e-6 * step if group["warmup_init"] else torch.full_like(step, 1e-2), step.rsqrt())
    rate = rms.clamp(min=least_size) * rate if group["scale_parameter"] else rate
    memory = 1 - step ** group["decay_rate"]
    square = gradient.square() + least
    after: dict[str, Tensor] = {"step": step.to(kept["step"]), "RMS": rms.to(kept["RMS"])}
    if gradient.dim() > 1:
        for name, dim in (("exp_avg_sq_row", -1), ("exp_avg_sq_col", -2)):
            after[name] = kept[name] * memory + square.mean(dim) * (1 - memory)
        row, column = after["exp_avg_sq_row"], after["exp_avg_sq_col"]
        update = (row / row.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1) * column.unsqueeze(-2).rsqrt() * gradient
    else:
        second = after["exp_avg_sq"] = kept["exp_avg_sq"] * memory + square * (1 - memory)
        update = second.rsqrt() * gradient
    update = update / (_rms(update) / group["clip_threshold"]).clamp(min=1.0) * rate
    if group["beta1"] is not None:
        after["exp_avg"] = update = kept["exp_avg"] * group["beta1"] + update * (1 - group["beta1"])
    moved: Tensor = parameter - group["weight_decay"] * rate * parameter - update
    return moved, after


def _rms(tensor: Tensor) -> Tensor:
    """Return √(mean of squares); its derivative is 0 where all are zero."""
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm / sqrt(tensor.numel())


DERIVED: dict[str, StepFormula] = {
    "Adafactor": adafactor,
    "transformers.optimization.Adafactor": adafactor_of_transformers,
}
