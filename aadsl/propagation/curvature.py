"""How the product of the loss's Hessian with a vector is computed: the one expensive part of propagation.

Every member answers two questions about the gradient g(θ) and the buffers b'(θ, b) after a step's forward pass:

* ``pullback``: (∂/∂θ, ∂/∂b) of ⟨g, c⟩ + ⟨w, b'⟩ for cotangents (c, w); for w = None the first part is H c.
* ``pushforward``: the changes of (g, b') along tangents (e_θ, e_b); the first part is H e_θ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from aadsl.errors import AadslError
from aadsl.propagation.layout import FlatState
from aadsl.propagation.objective import Objective
from aadsl.propagation.step import Step

Cotangent = tuple[Tensor, Tensor | None]
Pair = tuple[Tensor, Tensor]


@runtime_checkable
class Curvature(Protocol):
    """A way to compute Hessian-vector products. ``step_length`` is ‖θ_{t+1} − θ_t‖ of the observed step."""

    def pullback(
        self, objective: Objective, state: FlatState, step: Step, cotangents: Sequence[Cotangent], step_length: float
    ) -> list[Pair]:
        """Return (∂/∂θ, ∂/∂b) of ⟨g, c⟩ + ⟨w, b'⟩ for each (c, w)."""
        ...

    def pushforward(
        self, objective: Objective, state: FlatState, step: Step, tangents: Sequence[Pair], step_length: float
    ) -> list[Pair]:
        """Return the changes of (g, b') along each (e_θ, e_b)."""
        ...


@dataclass(frozen=True)
class Exact:
    """Double backward. On networks with kinks (ReLU) it misses what a real change of the parameters crosses."""

    def pullback(
        self, objective: Objective, state: FlatState, step: Step, cotangents: Sequence[Cotangent], step_length: float
    ) -> list[Pair]:
        """Return the exact products; one graph of the gradient serves them all."""
        return objective.curvature_pullback(state, step, cotangents)

    def pushforward(
        self, objective: Objective, state: FlatState, step: Step, tangents: Sequence[Pair], step_length: float
    ) -> list[Pair]:
        """Return the exact changes."""
        return objective.curvature_pushforward(state, step, tangents)


@dataclass(frozen=True)
class CentralDifference:
    """H c = [g(θ + hc) − g(θ − hc)] / 2h, two plain gradients a product.

    Attributes:
        radius: how far the two points lie from θ, ‖hc‖, in units of the observed step's length ‖θ_{t+1} − θ_t‖.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise AadslError(f"radius must be positive, not {self.radius:g}", hint="1 to 3 step lengths work well")

    def pullback(
        self, objective: Objective, state: FlatState, step: Step, cotangents: Sequence[Cotangent], step_length: float
    ) -> list[Pair]:
        """Return [∇(L + h⟨w, b'⟩)(θ + hc) − ∇(L − h⟨w, b'⟩)(θ − hc)] / 2h: the statistics' share comes for free."""
        return [self._pull(objective, state, step, c, w, step_length) for c, w in cotangents]

    def pushforward(
        self, objective: Objective, state: FlatState, step: Step, tangents: Sequence[Pair], step_length: float
    ) -> list[Pair]:
        """Return the central differences of gradient and buffers along each tangent."""
        return [
            _difference(objective, state, step, e_theta, e_buffers, self._stretch(state, e_theta, step_length))
            for e_theta, e_buffers in tangents
        ]

    def _pull(
        self, objective: Objective, state: FlatState, step: Step, c: Tensor, w: Tensor | None, step_length: float
    ) -> Pair:
        h = self._stretch(state, c, step_length)
        scaled = None if w is None else h * w
        ahead = objective.gradient(_moved(state, h, c), step, scaled)
        behind = objective.gradient(_moved(state, -h, c), step, None if scaled is None else -scaled)
        theta, buffers = ((a - b).div_(2 * h) for a, b in zip(ahead, behind, strict=True))
        return theta, buffers

    def _stretch(self, state: FlatState, direction: Tensor, step_length: float) -> float:
        """Return h with ‖h·direction‖ = radius·step_length."""
        # A step of length zero (a learning rate of 0) leaves no scale of its own: a thousandth of ‖θ‖ then.
        length = self.radius * step_length or 1e-3 * float(state.parameters.norm())
        return (length or 1.0) / (float(direction.norm()) or 1.0)


@dataclass(frozen=True)
class Secant:
    """H e = [g(θ + e) − g(θ − e)] / 2: the curvature averaged over the deviation e itself, kinks included.

    Only the tangent direction knows the deviation; the adjoint one falls back to ``central_difference``. The step
    depends on the size of e, so effects are no longer exactly additive.
    """

    def pullback(
        self, objective: Objective, state: FlatState, step: Step, cotangents: Sequence[Cotangent], step_length: float
    ) -> list[Pair]:
        """Return the products of ``central_difference(radius=1)``."""
        return CentralDifference().pullback(objective, state, step, cotangents, step_length)

    def pushforward(
        self, objective: Objective, state: FlatState, step: Step, tangents: Sequence[Pair], step_length: float
    ) -> list[Pair]:
        """Return the differences of gradient and buffers between θ + e and θ − e."""
        return [_difference(objective, state, step, e_theta, e_buffers, 1.0) for e_theta, e_buffers in tangents]


@dataclass(frozen=True)
class GaussNewton:
    """Jᵀ(∂²L/∂z²)J with z the model's output: positive semidefinite, a baseline."""

    def pullback(
        self, objective: Objective, state: FlatState, step: Step, cotangents: Sequence[Cotangent], step_length: float
    ) -> list[Pair]:
        """Return the Gauss-Newton products; running statistics are carried without their dependence on θ."""
        products = objective.gauss_newton_product(state, step, [c for c, _ in cotangents])
        return [
            (product, _kept(objective, state, step, w)) for product, (_, w) in zip(products, cotangents, strict=True)
        ]

    def pushforward(
        self, objective: Objective, state: FlatState, step: Step, tangents: Sequence[Pair], step_length: float
    ) -> list[Pair]:
        """Return the Gauss-Newton products; running statistics are carried without their dependence on θ."""
        products = objective.gauss_newton_product(state, step, [e for e, _ in tangents])
        return [(product, _kept(objective, state, step, e)) for product, (_, e) in zip(products, tangents, strict=True)]


@dataclass(frozen=True)
class Zero:
    """H = 0: the gradient does not react to the parameters (as TracIn assumes); a baseline."""

    def pullback(
        self, objective: Objective, state: FlatState, step: Step, cotangents: Sequence[Cotangent], step_length: float
    ) -> list[Pair]:
        """Return zeros for θ."""
        return [(torch.zeros_like(c), _kept(objective, state, step, w)) for c, w in cotangents]

    def pushforward(
        self, objective: Objective, state: FlatState, step: Step, tangents: Sequence[Pair], step_length: float
    ) -> list[Pair]:
        """Return zeros for the gradient."""
        return [(torch.zeros_like(e), _kept(objective, state, step, w)) for e, w in tangents]


def _difference(
    objective: Objective, state: FlatState, step: Step, e_theta: Tensor, e_buffers: Tensor, h: float
) -> Pair:
    """Return the central difference of gradient and buffers along (e_θ, e_b), the points ±h of it apart."""
    ahead = objective.evaluate(_moved(state, h, e_theta, e_buffers), step)
    behind = objective.evaluate(_moved(state, -h, e_theta, e_buffers), step)
    return (ahead.gradient - behind.gradient) / (2 * h), (ahead.buffers - behind.buffers) / (2 * h)


def _moved(state: FlatState, h: float, e_theta: Tensor, e_buffers: Tensor | None = None) -> FlatState:
    buffers = state.buffers if e_buffers is None else torch.add(state.buffers, e_buffers, alpha=h)
    return state._replace(parameters=torch.add(state.parameters, e_theta, alpha=h), buffers=buffers)


def _kept(objective: Objective, state: FlatState, step: Step, w: Tensor | None) -> Tensor:
    if w is None or not objective.buffers.size:
        return torch.zeros_like(state.buffers)
    return w * objective.retention(state, step)
