"""The optimizer's share of Φ_t, and the derivative of that share."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import partial

import torch
from torch import Tensor

from aadsl.core.formats import arranged
from aadsl.dynamics import RESTING, Slots, fused_step, has_fused_step
from aadsl.propagation.curvature import Point
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.linear_update import linear_pullback, linear_pushforward, matrices
from aadsl.propagation.own_update import own_steps
from aadsl.propagation.step import Step


def updated(
    layout: Layout, start: FlatState, gradient: Tensor, present: Tensor | None, step: Step, as_recorded: bool = False
) -> tuple[Tensor, tuple[Slots, ...]]:
    """Return (θ', s') = D(θ, s, clip(w·g)), differentiable in every tensor, or else ``as_recorded``: to the bits.

    ``present`` (P,) is false over parameters that got no gradient: they stay as they are, as PyTorch leaves them.
    """
    gradient = clipped(gradient, step, layout)
    slices = layout.group_slices
    taken = own_steps(layout, start, gradient, present, step, as_recorded=as_recorded)
    pairs = []
    for group, (s, own, dynamics, hyper) in enumerate(zip(slices, start.slots, step.dynamics, step.hyper, strict=True)):
        given = start.parameters if len(slices) == 1 else start.parameters[s], own, gradient[s], hyper
        if group in taken:
            pairs.append(taken[group])
        elif as_recorded and has_fused_step(dynamics, hyper):
            pairs.append(fused_step(dynamics, *given, partial(layout.group_views, group)))
        else:
            pairs.append(dynamics.step(*given))
    parameters = pairs[0][0] if len(pairs) == 1 else torch.cat([p for p, _ in pairs])
    slots = tuple(own | moved for own, (_, moved) in zip(start.slots, pairs, strict=True))
    if present is None:
        return parameters, slots
    return _held(layout, start, parameters, slots, present, taken)


def pullback(layout: Layout, point: Point, cotangents: Sequence[FlatState]) -> list[tuple[FlatState, Tensor]]:
    """Return for each cotangent its pullback through D at fixed g, and its cotangent of g."""
    if (linear := matrices(point)) is not None:
        return [linear_pullback(layout, linear, u) for u in cotangents]
    inputs, outputs, live = _graph(layout, point)
    results = []
    for u in cotangents:
        weights = [t for t, used in zip(u.tensors()[:-1], live, strict=True) if used]
        *direct, of_gradient = torch.autograd.grad(outputs, inputs, weights, retain_graph=True, materialize_grads=True)
        results.append((point.state.with_tensors([*direct, u.buffers])._replace(integers=()), of_gradient))
    return results


def pushforward(
    layout: Layout, point: Point, tangents: Sequence[FlatState], changes: Sequence[tuple[Tensor, Tensor]]
) -> list[FlatState]:
    """Return DD·(e_θ, e_s, dg) for each tangent, with dg and the buffers' change given.

    The derivative along a tangent is that of the pullback, which is linear in its cotangent.
    """
    if (linear := matrices(point)) is not None:
        return [linear_pushforward(layout, linear, e, *change) for e, change in zip(tangents, changes, strict=True)]
    inputs, outputs, live = _graph(layout, point)
    probes = [torch.zeros_like(output, requires_grad=True) for output in outputs]
    pulled = torch.autograd.grad(outputs, inputs, probes, create_graph=True, materialize_grads=True)
    results = []
    for e, (dg, buffers) in zip(tangents, changes, strict=True):
        along = [*e.tensors()[:-1], dg]
        pairs = [(p, a) for p, a in zip(pulled, along, strict=True) if p.requires_grad]
        moved = iter(
            torch.autograd.grad(
                [p for p, _ in pairs], probes, [a for _, a in pairs], retain_graph=True, materialize_grads=True
            )
        )
        after = [next(moved) if used else torch.zeros_like(t) for t, used in zip(along[:-1], live, strict=True)]
        results.append(point.state.with_tensors([*after, buffers])._replace(integers=()))
    return results


def _graph(layout: Layout, point: Point) -> tuple[list[Tensor], list[Tensor], list[bool]]:
    """Return the inputs (θ, s, g) of D, its outputs inside one graph, and which of (θ', s') those are.

    A slot that the step overwrites with a constant depends on nothing and is left out.
    """
    state, evaluation = point.state, point.evaluation
    leaves = [t.detach().requires_grad_(True) for t in [*state.tensors()[:-1], evaluation.gradient]]
    with torch.enable_grad():
        start = state.with_tensors([*leaves[:-1], state.buffers])
        parameters, slots = updated(layout, start, leaves[-1], evaluation.present, point.step)
    after = FlatState(parameters, slots, state.buffers).tensors()[:-1]
    return leaves, [t for t in after if t.requires_grad], [t.requires_grad for t in after]


def clipped(gradient: Tensor, step: Step, layout: Layout) -> Tensor:
    """Return w·g, (P,), after ``clip_grad_value_`` or ``clip_grad_norm_``, with their operations.

    The norm is that of ``model.parameters()``, in their order. Those that the step does not train have no part in it.
    """
    if step.gradient_weight != 1.0:
        gradient = gradient * step.gradient_weight
    clip = step.clip
    if clip is None:
        return gradient
    if clip.kind == "value":
        return gradient.clamp(-clip.limit, clip.limit)
    trained = [dynamics is not RESTING for dynamics in step.dynamics]
    views = zip(layout.ranks, layout.groups, layout.views(gradient), layout.formats, strict=True)
    ordered = [(view, lies) for _, group, view, lies in sorted(views, key=lambda part: part[0]) if trained[group]]
    # Copies are aligned, and lie as the gradients did that PyTorch clipped: reductions may choose their order by that.
    norms = [torch.linalg.vector_norm(arranged(view.clone(), lies), clip.norm_type) for view, lies in ordered]
    norm = torch.linalg.vector_norm(torch.stack(norms), clip.norm_type)
    return gradient * torch.clamp(clip.limit / (norm + 1e-6), max=1.0)


def _held(
    layout: Layout,
    before: FlatState,
    parameters: Tensor,
    slots: tuple[Slots, ...],
    present: Tensor,
    taken: Container[int],
) -> tuple[Tensor, tuple[Slots, ...]]:
    """Return (θ', s') with everything of parameters that got no gradient left as it was.

    The counter of a group stays where none of its parameters got one. Groups in ``taken`` saw to that themselves.
    """
    kept, changed = [], present
    for group, (s, own, old) in enumerate(zip(layout.group_slices, slots, before.slots, strict=True)):
        if group in taken:
            changed = changed.index_fill(0, torch.arange(s.start, s.stop, device=present.device), True)
            kept.append(own)
            continue
        there = {True: present[s], False: present[s].any()}
        kept.append({n: t if t is old[n] else torch.where(there[t.dim() > 0], t, old[n]) for n, t in own.items()})
    return torch.where(changed, parameters, before.parameters), tuple(kept)
