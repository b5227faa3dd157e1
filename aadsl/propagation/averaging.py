"""Averages of the weights that a run keeps beside them (EMA, SWA), as a part of its state.

After the update of θ and the buffers an average takes them in, ā_{t+1} = ā_t + w (θ_{t+1} − ā_t). That is linear, so a
cotangent of the average injects w u into that of the parameters at each step, and a tangent is averaged as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from aadsl.propagation.layout import Average, FlatState

ROUNDED = 1e-6  # by how much a weight that was recorded may be off, where it was computed in single precision

Formula = Literal["lerp", "mean", "sum"]
BufferRule = Literal["averaged", "copied", "left"]


@dataclass(frozen=True)
class Averaging:
    """How an average takes in what a step leaves.

    Attributes:
        weight: w.
        buffers: what it does with buffers: averages them alike, copies them, or leaves them as they were.
        formula: the operations that give its bits: ``torch.lerp``, ``ā + (θ − ā) / n``, or ``(1 − w) ā + w θ``.
        counted: whether w is 1 / (n + 1) with n what it took in until then, which is part of the state; a step that
            does not happen is not counted.
        of_step: whether it takes nothing in where the step does not happen; else it is a snapshot at a time.
    """

    weight: float
    buffers: BufferRule = "averaged"
    formula: Formula = "lerp"
    counted: bool = False
    of_step: bool = True

    def weight_at(self, count: Tensor) -> float:
        """Return w, of the number of models that the average took in until then."""
        w = 1 / (float(count) + 1)
        return w if self.counted and abs(w - self.weight) > ROUNDED * w else self.weight


def taken_in(after: FlatState, average: Average, averaging: Averaging) -> FlatState:
    """Return the state after a step with the average that has taken its parameters and buffers in."""
    w = averaging.weight_at(average.number)
    parameters = _mixed(average.parameters, after.parameters, w, averaging.formula)
    buffers = average.buffers
    if averaging.buffers == "copied":
        buffers = after.buffers
    elif averaging.buffers == "averaged":
        buffers = _mixed(buffers, after.buffers, w, averaging.formula)
    number = average.number + 1 if averaging.counted else average.number
    return after._replace(average=Average(parameters, buffers, number))


def pulled(u: FlatState, after: FlatState, average: Average, averaging: Averaging) -> FlatState:
    """Return the cotangent of (θ', ā) for that of (θ', ā'), at the state after the step and the average before it."""
    assert u.average is not None
    w, own = averaging.weight_at(average.number), u.average
    count = own.number
    if averaging.counted:  # dw/dn = −w²
        count = count - w * w * torch.dot(own.parameters, after.parameters - average.parameters).to(count)
        if averaging.buffers == "averaged" and own.buffers.numel():
            count = count - w * w * torch.dot(own.buffers, after.buffers - average.buffers).to(count)
    of_buffers = {"averaged": w, "copied": 1.0, "left": 0.0}[averaging.buffers]
    left = Average((1 - w) * own.parameters, (1 - of_buffers) * own.buffers, count)
    parameters, buffers = u.parameters + w * own.parameters, u.buffers + of_buffers * own.buffers
    return u._replace(parameters=parameters, buffers=buffers, average=left)


def pushed(moved: FlatState, e: Average, after: FlatState, average: Average, averaging: Averaging) -> FlatState:
    """Return the tangent of (θ', ā') for that of θ' and ``e`` of ā: the transpose of :func:`pulled`."""
    w = averaging.weight_at(average.number)
    of_count = -w * w * float(e.number) if averaging.counted else 0.0
    parameters = e.parameters + w * (moved.parameters - e.parameters)
    buffers = e.buffers
    if averaging.buffers == "copied":
        buffers = moved.buffers
    elif averaging.buffers == "averaged":
        buffers = buffers + w * (moved.buffers - buffers)
    if of_count:
        parameters = parameters + of_count * (after.parameters - average.parameters)
        if averaging.buffers == "averaged":
            buffers = buffers + of_count * (after.buffers - average.buffers)
    return moved._replace(average=Average(parameters, buffers, e.number))


def shipped(state: FlatState, own_buffers: bool) -> FlatState:
    """Return the averaged model of a state: what is read off it. Of a tangent, what moves that."""
    assert state.average is not None
    parameters, buffers, _ = state.average
    return state._replace(parameters=parameters, buffers=buffers if own_buffers else state.buffers, average=None)


def placed(u: FlatState, like: FlatState, own_buffers: bool) -> FlatState:
    """Return the cotangent of a state for that of its averaged model: the transpose of :func:`shipped`."""
    assert like.average is not None
    buffers = u.buffers if own_buffers else torch.zeros_like(u.buffers)
    average = Average(u.parameters, buffers, torch.zeros_like(like.average.number))
    own = torch.zeros_like(u.buffers) if own_buffers else u.buffers
    return u._replace(parameters=torch.zeros_like(u.parameters), buffers=own, average=average)


def _mixed(average: Tensor, new: Tensor, w: float, formula: Formula) -> Tensor:
    if w == 1:
        return new
    if formula == "mean":
        return average + (new - average) / round(1 / w)
    if formula == "sum":
        return (1 - w) * average + w * new
    return torch.lerp(average, new, w)
