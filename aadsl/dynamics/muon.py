"""Muon, exactly as ``torch.optim.Muon`` computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from aadsl.dynamics.base import Hyper, Slots, filled


@dataclass(frozen=True)
class Muon:
    """Muon (Jordan and others, 2024): matrices move by a momentum whose singular values are all brought near to 1.

    m' = m + (1 − μ)(g − m),   u = m', with Nesterov g + μ(m' − g)
    θ' = (1 − ηλ) θ − η r O(u),   r by the matrix's shape

    O takes n steps X ← aX + (bA + cA²) X, A = XXᵀ, from X = u/max(‖u‖, ε), which PyTorch computes in bfloat16. Its
    derivative is that of the same steps in the precision of the weights: bfloat16 moves in leaps.

    Attributes:
        shapes: those of the group's matrices, in the order in which they lie in its vectors.
        adjust_lr_fn: which rule gives r.
    """

    shapes: tuple[tuple[int, int], ...]
    adjust_lr_fn: str | None = None

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, ...]], options: Mapping[str, Any]) -> Muon:
        """Return the steps of a group of matrices, made with ``options`` besides scalars."""
        return cls(tuple((rows, columns) for rows, columns in shapes), options.get("adjust_lr_fn"))

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return m = 0."""
        return {"momentum_buffer": torch.zeros_like(parameter)}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return the momentum as recorded."""
        return filled(initial, recorded)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        """Return (θ', {m'})."""
        momentum, lr = hyper["momentum"], hyper["lr"]
        mean = torch.lerp(slots["momentum_buffer"], gradient, 1 - momentum)
        update = torch.lerp(gradient, mean, momentum) if hyper["nesterov"] else mean
        shrunk, sizes = parameter * (1 - lr * hyper["weight_decay"]), [rows * columns for rows, columns in self.shapes]
        parts = (torch.split(vector, sizes) for vector in (shrunk, update))
        moved = []
        for weights, own, shape in zip(*parts, self.shapes, strict=True):
            direction = orthogonalized(own.view(shape), hyper).reshape(-1).to(own)
            moved.append(torch.add(weights, direction, alpha=-lr * self._ratio(shape)))
        return torch.cat(moved), {"momentum_buffer": mean}

    def linear(self, hyper: Hyper) -> bool:
        """Return False: it divides by a norm."""
        return False

    def _ratio(self, shape: tuple[int, int]) -> float:
        rows, columns = shape
        if self.adjust_lr_fn == "match_rms_adamw":
            return 0.2 * sqrt(max(rows, columns))
        return sqrt(max(1, rows / columns))


def orthogonalized(matrix: Tensor, hyper: Hyper) -> Tensor:
    """Return O(matrix): of the wider of it and its transpose, in bfloat16 unless it is differentiated."""
    a, b, c = (hyper[f"ns_coefficient{number}"] for number in (1, 2, 3))
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix if matrix.requires_grad else matrix.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=hyper["eps"])
    for _ in range(int(hyper["ns_steps"])):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
