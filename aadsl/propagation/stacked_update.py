"""The optimizer's share of one step of many runs, written into their rows.

An optimizer's step is elementwise. On a CPU PyTorch's fused kernels, where it has some, write it in place, in one pass
over the memory, which is what such a step takes there. Else it is taken on matrices (n, c): n runs, c neighboring
parameters of one group. On a CPU a piece is then no larger than its cache; elsewhere it is as large as can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aadsl.dynamics import RESTING, Dynamics, Slots, has_fused_kernels, step_in_place
from aadsl.propagation.layout import Layout
from aadsl.propagation.replicas import Replicas
from aadsl.propagation.step import Step

# Elements of a piece on a CPU: with 2^18 an update took half as long again where the second-level cache has 2 MiB.
IN_CACHE = 1 << 17


class Piece(NamedTuple):
    """The gradients (n, …) of ``width`` parameters of one group that lie side by side, from ``start`` on."""

    group: int
    start: int
    width: int
    gradients: Tensor


def update(
    layout: Layout, replicas: Replicas, rows: Sequence[int], gradients: Sequence[Tensor | None], step: Step
) -> None:
    """Take (θ, s) ← D(θ, s, clip(w·g)) in ``rows`` that are neighbors and whose counters are equal.

    ``gradients`` (n, …) are those of each parameter tensor; None where it got none: it stays as it is, and the counter
    of a group where none got one.
    """
    on_cpu = replicas.parameters.device.type == "cpu"
    exact = replicas.parameters.dtype in (torch.float32, torch.float64)
    fused = on_cpu and exact and all(map(_has_kernels, step.dynamics))
    limit = 0 if fused else IN_CACHE if on_cpu else len(rows) * layout.size
    groups = range(len(layout.group_slices))
    counters = [replicas.counters_of(rows, group) for group in groups]
    counted: list[Slots] = [{} for _ in groups]
    for group, start, width, found in _pieces(layout, clipped_rows(layout, gradients, step), limit):
        first = start - layout.group_slices[group].start
        dynamics, hyper = step.dynamics[group], step.hyper[group]
        if fused:
            places, slots = replicas.places(rows, group, start, first, width)
            flat = [*found.flatten(1)]
            counted[group] |= step_in_place(dynamics, places, counters[group], flat, slots, hyper)
            continue
        parameters = replicas.take(replicas.parameters, rows)[:, start : start + width]
        vectors = {n: replicas.take(t, rows)[:, first : first + width] for n, t in replicas.vectors[group].items()}
        portion = max(1, limit // width)
        for part in (slice(a, a + portion) for a in range(0, len(rows), portion)):
            given = counters[group] | {name: t[part] for name, t in vectors.items()}
            after, moved = dynamics.step(parameters[part], given, _matrix(found, part), hyper)
            parameters[part] = after
            counted[group] |= {name: t for name, t in moved.items() if name in counters[group]}
            for name in moved.keys() & vectors.keys():
                vectors[name][part] = moved[name]
    for group, own in enumerate(counted):
        replicas.put_slots(rows, group, own)


def _has_kernels(dynamics: Dynamics) -> bool:
    return dynamics is RESTING or has_fused_kernels(dynamics)


def clipped_rows(layout: Layout, gradients: Sequence[Tensor | None], step: Step) -> list[Tensor | None]:
    """Return clip(w·g) of each run (n, …), by its own norm, for the parameters that are trained and got a gradient.

    As :func:`aadsl.propagation.update.clipped` does it for one run.
    """
    trained = [step.dynamics[group] is not RESTING for group in layout.groups]
    kept = [g if own else None for g, own in zip(gradients, trained, strict=True)]
    if step.gradient_weight != 1.0:
        kept = [None if g is None else g * step.gradient_weight for g in kept]
    clip = step.clip
    if clip is None:
        return kept
    if clip.kind == "value":
        return [None if g is None else g.clamp(-clip.limit, clip.limit) for g in kept]
    norms = [torch.linalg.vector_norm(_columns(g).flatten(1), clip.norm_type, dim=1) for g in kept if g is not None]
    norm = torch.linalg.vector_norm(torch.stack(norms), clip.norm_type, dim=0)
    factor = torch.clamp(clip.limit / (norm + 1e-6), max=1.0)
    return [None if g is None else g * factor.view(-1, *[1] * (g.dim() - 1)) for g in kept]


def _pieces(layout: Layout, gradients: Sequence[Tensor | None], limit: int) -> Iterator[Piece]:
    """Yield all gradients; those of neighbors are joined to pieces of up to ``limit`` elements."""
    joined: list[Tensor] = []
    for position, (gradient, group) in enumerate(zip(gradients, layout.groups, strict=True)):
        if gradient is None:
            continue
        joined.append(_columns(gradient))
        following = gradients[position + 1] if position + 1 < len(gradients) else None
        size = sum(g.numel() for g in joined) + (0 if following is None else following.numel())
        if following is None or layout.groups[position + 1] != group or size > limit:
            found = joined[0] if len(joined) == 1 else torch.cat([g.flatten(1) for g in joined], dim=1)
            width = found[0].numel()
            yield Piece(group, layout.offsets[position + 1] - width, width, found)
            joined = []


def _columns(gradient: Tensor) -> Tensor:
    """Return the gradients (n, …) with a dimension for the parameters, also where those are single numbers."""
    return gradient if gradient.dim() > 1 else gradient[:, None]


def _matrix(gradients: Tensor, part: slice) -> Tensor:
    """Return the gradients of some runs as a matrix (n, c).

    vmap leaves those of a linear layer transposed; turning one run's at a time takes half as long.
    """
    return gradients[part.start].reshape(1, -1) if part.stop - part.start == 1 else gradients[part].flatten(1)
