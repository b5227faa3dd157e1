"""How the product of the loss's Hessian with a vector is computed: the one expensive part of propagation.

Every member answers two questions about the gradient g(θ) and the buffers b'(θ, b) after a step's forward pass:

* ``pullback``: (∂/∂θ, ∂/∂b) of ⟨g, c⟩ + ⟨w, b'⟩ for cotangents (c, w); for w = None the first part is H c.
* ``pushforward``: the changes of (g, b') along tangents (e_θ, e_b); the first part is H e_θ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.propagation.evaluation import Evaluation
from aadsl.propagation.layout import FlatState
from aadsl.propagation.objective import Objective
from aadsl.propagation.step import Step

Cotangent = tuple[Tensor, Tensor | None]
Pair = tuple[Tensor, Tensor]


class Point(NamedTuple):
    """Where the gradient is differentiated.

    Attributes:
        state: ξ_t, with θ and b.
        step: whose batch and mode the gradient is taken with.
        evaluation: loss, gradient and buffers after ``step`` at ξ_t, known from the replay.
        after: (P,) θ_{t+1} of the observed step.
    """

    state: FlatState
    step: Step
    evaluation: Evaluation
    after: Tensor

    @property
    def length(self) -> Tensor:
        """‖θ_{t+1} − θ_t‖ of the observed step, on its device."""
        return torch.dist(self.after, self.state.parameters)


@runtime_checkable
class Curvature(Protocol):
    """A way to compute Hessian-vector products."""

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return (∂/∂θ, ∂/∂b) of ⟨g, c⟩ + ⟨w, b'⟩ for each (c, w)."""
        ...

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the changes of (g, b') along each (e_θ, e_b)."""
        ...


@dataclass(frozen=True)
class Exact:
    """Double backward. On networks with kinks (ReLU) it misses what a real change of the parameters crosses."""

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return the exact products; one graph of the gradient serves them all."""
        return objective.curvature_pullback(point.state, point.step, cotangents)

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the exact changes."""
        return objective.curvature_pushforward(point.state, point.step, tangents)


@checked
@dataclass(frozen=True)
class CentralDifference:
    """H c = [g(θ + hc) − g(θ − hc)] / 2h, two plain gradients a product.

    Attributes:
        radius: how far the two points lie from θ, ‖hc‖, in units of the observed step's length ‖θ_{t+1} − θ_t‖.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        _check_radius(self.radius)

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return [∇(L + 2h⟨w, b'⟩)(θ + hc) − ∇L(θ − hc)] / 2h.

        The statistics' share is a first derivative: one side is enough for it, and their graph is not free.
        """
        pulled = []
        for c, w in cotangents:
            h = _stretch(self.radius, point, c)
            ahead = objective.gradient(point.state, point.step, None if w is None else 2 * h * w, (h, c))
            behind = objective.gradient(point.state, point.step, None, (-h, c))
            pulled.append(_quotient(ahead, behind, 2 * h))
        return pulled

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the central differences of gradient and buffers along each tangent."""
        return [_difference(objective, point, e, _stretch(self.radius, point, e[0])) for e in tangents]


@checked
@dataclass(frozen=True)
class OneSidedDifference:
    """H c = [g(θ + hc) − g(θ)] / h: one plain gradient a product, since the replay knows g(θ) already.

    Half the price of ``central_difference`` and about its error: effects of single steps of the paper's MLP at
    learning rate 0.001 were off by 1.5 % (0.8 %) central and 2.0 % (0.9 %) one-sided, over two seeds; with GELU by
    0.04 % either way.

    Attributes:
        radius: how far the point lies from θ, ‖hc‖, in units of the observed step's length ‖θ_{t+1} − θ_t‖.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        _check_radius(self.radius)

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return [∇(L + h⟨w, b'⟩)(θ + hc) − ∇L(θ)] / h."""
        at = _gradient_at(objective, point)
        pulled = []
        for c, w in cotangents:
            h = _stretch(self.radius, point, c)
            ahead = objective.gradient(point.state, point.step, None if w is None else h * w, (h, c))
            pulled.append(_quotient(ahead, at, h))
        return pulled

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the one-sided differences of gradient and buffers along each tangent."""
        at, changes = point.evaluation, []
        for e in tangents:
            h = _stretch(self.radius, point, e[0])
            ahead = objective.evaluate(_moved(point.state, h, *e), point.step)
            changes.append(_quotient((ahead.gradient, ahead.buffers), (at.gradient, at.buffers), h))
        return changes


@dataclass(frozen=True)
class Secant:
    """H e = [g(θ + e) − g(θ − e)] / 2: the curvature averaged over the deviation e itself, kinks included.

    Only the tangent direction knows the deviation; the adjoint one falls back to ``central_difference``. The step
    depends on the size of e, so effects are no longer exactly additive.
    """

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return the products of ``central_difference(radius=1)``."""
        return CentralDifference().pullback(objective, point, cotangents)

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the differences of gradient and buffers between θ + e and θ − e."""
        return [_difference(objective, point, e, 1.0) for e in tangents]


@dataclass(frozen=True)
class GaussNewton:
    """Jᵀ(∂²L/∂z²)J with z the model's output: positive semidefinite, a baseline."""

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return the Gauss-Newton products; running statistics are carried without their dependence on θ."""
        products = objective.gauss_newton_product(point.state, point.step, [c for c, _ in cotangents])
        return [(product, _kept(objective, point, w)) for product, (_, w) in zip(products, cotangents, strict=True)]

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the Gauss-Newton products; running statistics are carried without their dependence on θ."""
        products = objective.gauss_newton_product(point.state, point.step, [e for e, _ in tangents])
        return [(product, _kept(objective, point, e)) for product, (_, e) in zip(products, tangents, strict=True)]


@dataclass(frozen=True)
class Zero:
    """H = 0: the gradient does not react to the parameters (as TracIn assumes); a baseline."""

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return zeros for θ."""
        return [(torch.zeros_like(c), _kept(objective, point, w)) for c, w in cotangents]

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return zeros for the gradient."""
        return [(torch.zeros_like(e), _kept(objective, point, w)) for e, w in tangents]


def _check_radius(radius: float) -> None:
    if not radius > 0:
        raise AadslError(f"radius must be positive, not {radius:g}", hint="1 to 3 step lengths work well")


def _stretch(radius: float, point: Point, direction: Tensor) -> float:
    """Return h with ‖h·direction‖ = radius·‖θ_{t+1} − θ_t‖."""
    # One transfer, because each waits for all that is under way on a GPU.
    moved, along = torch.stack([point.length, direction.norm()]).tolist()
    # A step of length zero (a learning rate of 0) leaves no scale of its own: a thousandth of ‖θ‖ then.
    length = radius * moved or 1e-3 * float(point.state.parameters.norm())
    return (length or 1.0) / (along or 1.0)


def _gradient_at(objective: Objective, point: Point) -> Pair:
    """Return (∂/∂θ, ∂/∂b) of L at θ, which the replay knows where the loss does not read b."""
    buffers = point.state.buffers
    if point.step.training or not buffers.numel():
        return point.evaluation.gradient, torch.zeros_like(buffers)
    return objective.gradient(point.state, point.step, buffers.new_zeros(buffers.shape))


def _difference(objective: Objective, point: Point, e: Pair, h: float) -> Pair:
    """Return the central difference of gradient and buffers along (e_θ, e_b), the points ±h of it apart."""
    ahead, behind = (objective.evaluate(_moved(point.state, side, *e), point.step) for side in (h, -h))
    return _quotient((ahead.gradient, ahead.buffers), (behind.gradient, behind.buffers), 2 * h)


def _quotient(fresh: Pair, other: Pair, distance: float) -> Pair:
    """Return (fresh − other) / distance, in the memory of ``fresh``."""
    return fresh[0].sub_(other[0]).div_(distance), fresh[1].sub_(other[1]).div_(distance)


def _moved(state: FlatState, h: float, e_theta: Tensor, e_buffers: Tensor) -> FlatState:
    return state._replace(
        parameters=torch.add(state.parameters, e_theta, alpha=h), buffers=torch.add(state.buffers, e_buffers, alpha=h)
    )


def _kept(objective: Objective, point: Point, w: Tensor | None) -> Tensor:
    if w is None or not objective.buffers.size:
        return torch.zeros_like(point.state.buffers)
    return w * objective.retention(point.state, point.step)
