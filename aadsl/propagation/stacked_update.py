"""The optimizer's share of one step of many runs, written in place into their stack.

An optimizer's step is elementwise, so it is taken on matrices (n, c): n runs, c neighboring parameters of one group. On
a CPU a piece is no larger than what stays in its cache until it is written; elsewhere it is as large as can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aadsl.dynamics import RESTING, Slots
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.step import Step

IN_CACHE = 1 << 17


class Piece(NamedTuple):
    """The gradients (n, …) of ``width`` parameters that lie side by side, from ``start`` on."""

    group: int
    start: int
    width: int
    gradients: Tensor


def update(layout: Layout, states: FlatState, gradients: Sequence[Tensor | None], step: Step) -> None:
    """Take (θ, s) ← D(θ, s, clip(w·g)) in n runs whose counters agree.

    Args:
        layout: of the parameters.
        states: of the n runs, stacked; they are written to.
        gradients: (n, …) of each parameter tensor; None where it got none: it stays as it is.
        step: what all of the runs do.
    """
    count = len(states.parameters)
    limit = IN_CACHE if states.parameters.device.type == "cpu" else states.parameters.numel()
    counters = [{name: t[0].clone() for name, t in own.items() if t.dim() == 1} for own in states.slots]
    for group, start, width, found in _pieces(layout, _clipped(layout, gradients, step), limit):
        own, dynamics, hyper = states.slots[group], step.dynamics[group], step.hyper[group]
        first = start - layout.group_slices[group].start
        vectors = {name: t[:, first : first + width] for name, t in own.items() if t.dim() > 1}
        parameters = states.parameters[:, start : start + width]
        for rows in _portions(count, max(1, limit // width)):
            slots: Slots = counters[group] | {name: t[rows] for name, t in vectors.items()}
            after, moved = dynamics.step(parameters[rows], slots, _matrix(found, rows), hyper)
            parameters[rows] = after
            for name, new in moved.items():
                (own if name in counters[group] else vectors)[name][rows] = new


def _clipped(layout: Layout, gradients: Sequence[Tensor | None], step: Step) -> list[Tensor | None]:
    """Return clip(w·g) of each run (n, …), for the parameters that are trained and got a gradient."""
    trained = [step.dynamics[group] is not RESTING for group in layout.groups]
    kept = [g if own else None for g, own in zip(gradients, trained, strict=True)]
    if step.gradient_weight != 1.0:
        kept = [None if g is None else g * step.gradient_weight for g in kept]
    clip = step.clip
    if clip is None:
        return kept
    if clip.kind == "value":
        return [None if g is None else g.clamp(-clip.limit, clip.limit) for g in kept]
    norms = [torch.linalg.vector_norm(g.flatten(1), clip.norm_type, dim=1) for g in kept if g is not None]
    norm = torch.linalg.vector_norm(torch.stack(norms), clip.norm_type, dim=0)
    factor = torch.clamp(clip.limit / (norm + 1e-6), max=1.0)
    return [None if g is None else g * factor.view(-1, *[1] * (g.dim() - 1)) for g in kept]


def _pieces(layout: Layout, gradients: Sequence[Tensor | None], limit: int) -> Iterator[Piece]:
    """Yield all gradients; those of neighbors are joined to pieces of up to ``limit`` elements."""
    joined: list[Tensor] = []
    for position, (gradient, group) in enumerate(zip(gradients, layout.groups, strict=True)):
        if gradient is None:
            continue
        joined.append(gradient if gradient.dim() > 1 else gradient[:, None])
        following = gradients[position + 1] if position + 1 < len(gradients) else None
        size = sum(g.numel() for g in joined) + (0 if following is None else following.numel())
        if following is None or layout.groups[position + 1] != group or size > limit:
            found = joined[0] if len(joined) == 1 else torch.cat([g.flatten(1) for g in joined], dim=1)
            width = found[0].numel()
            yield Piece(group, layout.offsets[position + 1] - width, width, found)
            joined = []


def _portions(count: int, size: int) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, count, size))


def _matrix(gradients: Tensor, rows: slice) -> Tensor:
    """Return the gradients of some runs as a matrix (n, c); they can come transposed, and one run is turned faster."""
    return gradients[rows.start].reshape(1, -1) if rows.stop - rows.start == 1 else gradients[rows].flatten(1)
