"""The derivative of an optimizer whose step is one linear map at every coordinate: a small matrix for each group.

Differentiating such a step through autograd costs a dozen passes over the parameters; multiplying by its matrix takes
three or four.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from aadsl.dynamics import Dynamics
from aadsl.propagation.curvature import Point
from aadsl.propagation.layout import FlatState, Layout

PARAMETERS, GRADIENT = "θ", "g"

Matrix = Mapping[str, Mapping[str, float]]
"""For each output, θ' or a slot, the coefficient of each input, θ, a slot or g, that it depends on."""


def matrices(point: Point) -> list[Matrix] | None:
    """Return the matrix of each parameter group; None where the step is not linear, or differs between coordinates."""
    step = point.step
    linear = all(dynamics.linear(hyper) for dynamics, hyper in zip(step.dynamics, step.hyper, strict=True))
    if not linear or step.clip is not None or point.evaluation.present is not None:
        return None
    return [
        _matrix(dynamics, tuple((name, bool(t.dim())) for name, t in own.items()), tuple(hyper.items()),
                step.gradient_weight)
        for dynamics, own, hyper in zip(step.dynamics, point.state.slots, step.hyper, strict=True)
    ]  # fmt: skip


@lru_cache(maxsize=64)
def _matrix(
    dynamics: Dynamics, slots: tuple[tuple[str, bool], ...], hyper: tuple[tuple[str, Any], ...], weight: float
) -> Matrix:
    """Return the matrix of a step: what it makes of the unit vectors. ``slots`` says which are vectors."""
    inputs = [PARAMETERS, *(name for name, vector in slots if vector), GRADIENT]
    basis = dict(zip(inputs, torch.eye(len(inputs), dtype=torch.float64), strict=True))
    own = {name: basis[name] if vector else torch.zeros((), dtype=torch.float64) for name, vector in slots}
    after, moved = dynamics.step(basis[PARAMETERS], own, weight * basis[GRADIENT], dict(hyper))
    rows = {PARAMETERS: after} | {name: moved.get(name, basis[name]) for name in inputs[1:-1]}
    found = {output: _nonzero(inputs, row.tolist()) for output, row in rows.items()}
    # A counter that the step moves does not depend on the state: it counts, or starts, by a constant.
    return found | {name: {} if name in moved else {name: 1.0} for name, vector in slots if not vector}


def _nonzero(inputs: Sequence[str], row: Sequence[float]) -> dict[str, float]:
    return {name: value for name, value in zip(inputs, row, strict=True) if value}


def linear_pullback(layout: Layout, linear: Sequence[Matrix], u: FlatState) -> tuple[FlatState, Tensor]:
    """Return the cotangent u of the state after the step as that of the state before it, and as that of g."""
    parameters, slots, gradient = [], [], []
    for s, own, matrix in zip(layout.group_slices, u.slots, linear, strict=True):
        after = {PARAMETERS: u.parameters[s], **own}

        def pulled(name: str, after: dict[str, Tensor] = after, matrix: Matrix = matrix) -> Tensor:
            terms = [(row[name], after[output]) for output, row in matrix.items() if name in row]
            return _combination(terms, after[PARAMETERS if name == GRADIENT else name])

        parameters.append(pulled(PARAMETERS))
        gradient.append(pulled(GRADIENT))
        slots.append({name: pulled(name) for name in own})
    return FlatState(_joined(parameters), tuple(slots), u.buffers), _joined(gradient)


def linear_pushforward(
    layout: Layout, linear: Sequence[Matrix], e: FlatState, dg: Tensor, buffers: Tensor
) -> FlatState:
    """Return the tangent after the step of the tangent e before it, with the changes of g and the buffers given."""
    parameters, slots = [], []
    for s, own, matrix in zip(layout.group_slices, e.slots, linear, strict=True):
        before = {PARAMETERS: e.parameters[s], **own, GRADIENT: dg[s]}
        moved = {
            output: _combination([(value, before[name]) for name, value in matrix[output].items()], before[output])
            for output in (PARAMETERS, *own)
        }
        parameters.append(moved.pop(PARAMETERS))
        slots.append(moved)
    return FlatState(_joined(parameters), tuple(slots), buffers)


def _combination(terms: Sequence[tuple[float, Tensor]], like: Tensor) -> Tensor:
    """Return Σ a·x; it may be one of the tensors themselves."""
    if not terms:
        return torch.zeros_like(like)
    (a, total), *rest = sorted(terms, key=lambda term: term[0] != 1.0)
    total = total if a == 1.0 else total * a
    for b, x in rest:
        total = torch.add(total, x, alpha=b)
    return total


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
