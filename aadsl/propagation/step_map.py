"""Φ_t and its derivative: one optimizer step of the whole state, applied, pulled back and pushed forward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aadsl.dynamics import RESTING, Slots
from aadsl.propagation.curvature import Curvature, Point
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.objective import Evaluation, Objective
from aadsl.propagation.step import Step


class StepMap:
    """The map ξ_t → ξ_{t+1} of any :class:`Step`, observed or counterfactual.

    Φ_t(θ, s, b) = (D(θ, s, clip(w·g)), b'), with g the gradient of the mean loss, D the optimizer's elementwise step,
    s its slots and b' the buffers after the forward pass. The derivative of D and of the clipping comes from
    autograd, that of g and b' from a :class:`Curvature`. The propagator matrix M_t (the paper's eq. 7) is never formed.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    @property
    def layout(self) -> Layout:
        """Where the parameters lie in the flat vector."""
        return self.objective.parameters

    def __call__(self, state: FlatState, step: Step) -> FlatState:
        """Return the state after ``step``."""
        return self.advance(state, step)[0]

    def advance(
        self, state: FlatState, step: Step, known: Evaluation | None = None
    ) -> tuple[FlatState, Evaluation | None]:
        """Return the state after ``step`` and the evaluation it used (None where it needed none).

        ``known`` is an evaluation of the same batches at the same parameters, which saves computing it again.
        """
        start = restarted(state, step)
        if not step.applied:
            return start, None
        evaluation = known or self.evaluate(start, step)
        with torch.no_grad():
            parameters, slots = self.update(start.parameters, start.slots, evaluation.gradient, step)
            if evaluation.present is not None:
                parameters, slots = self._held(start, parameters, slots, evaluation.present)
        return FlatState(parameters, slots, evaluation.buffers, evaluation.integers), evaluation

    def update(
        self, parameters: Tensor, slots: Sequence[Slots], gradient: Tensor, step: Step
    ) -> tuple[Tensor, tuple[Slots, ...]]:
        """Return (θ', s') of the optimizer alone: clipping and weighting included, differentiable in every tensor."""
        if step.gradient_weight != 1.0:
            gradient = gradient * step.gradient_weight
        gradient = clipped(gradient, step, self.layout)
        slices = self.layout.group_slices
        if len(slices) == 1:
            after, moved = step.dynamics[0].step(parameters, slots[0], gradient, step.hyper[0])
            return after, (slots[0] | moved,)
        pairs = [
            dynamics.step(parameters[s], own, gradient[s], hyper)
            for s, own, dynamics, hyper in zip(slices, slots, step.dynamics, step.hyper, strict=True)
        ]
        after = torch.cat([p for p, _ in pairs])
        return after, tuple(own | moved for own, (_, moved) in zip(slots, pairs, strict=True))

    def pullback(self, point: Point, cotangents: Sequence[FlatState], curvature: Curvature) -> list[FlatState]:
        """Return DΦᵀ u for each cotangent u of the state after ``point.step``; Φ is that step, taken at the point."""
        step = point.step
        point = point._replace(state=restarted(point.state, step))
        pulled = self._optimizer_pullback(point, cotangents)
        if self._reads_no_data(point.state, step):
            return [restarted(direct, step) for direct, _ in pulled]
        watched = bool(point.state.buffers.numel())
        wanted = [(c, u.buffers if watched else None) for (_, c), u in zip(pulled, cotangents, strict=True)]
        results = []
        for (direct, _), (theta, buffers) in zip(
            pulled, curvature.pullback(self.objective, point, wanted), strict=True
        ):
            result = direct._replace(parameters=direct.parameters + theta, buffers=buffers)
            results.append(restarted(result, step))
        return results

    def pushforward(self, point: Point, tangents: Sequence[FlatState], curvature: Curvature) -> list[FlatState]:
        """Return DΦ e for each tangent e of the state before ``point.step``."""
        tangents = [restarted(e, point.step) for e in tangents]
        point = point._replace(state=restarted(point.state, point.step))
        moving = [(e.parameters, e.buffers) for e in tangents]
        if self._reads_no_data(point.state, point.step):
            changes = [(torch.zeros_like(e), b) for e, b in moving]
        else:
            changes = curvature.pushforward(self.objective, point, moving)
        return self._optimizer_pushforward(point, tangents, changes)

    def evaluate(self, state: FlatState, step: Step) -> Evaluation:
        """Return loss and gradient of ``step`` at θ_t; nothing is computed where the gradient has no weight."""
        if not self._reads_no_data(state, step):
            return self.objective.evaluate(state, step)
        nothing = torch.zeros_like(state.parameters)
        return Evaluation(nothing.new_zeros(()), nothing, None, state.buffers, state.integers)

    def _reads_no_data(self, state: FlatState, step: Step) -> bool:
        """Return whether the batch cannot matter: its gradient has no weight and there are no statistics to update."""
        return step.gradient_weight == 0 and not state.buffers.numel()

    def _optimizer_pullback(self, point: Point, cotangents: Sequence[FlatState]) -> list[tuple[FlatState, Tensor]]:
        """Return for each cotangent its pullback through D at fixed g, and its cotangent of g."""
        inputs, outputs, live = self._optimizer_graph(point)
        results = []
        for u in cotangents:
            weights = [t for t, used in zip(u.tensors()[:-1], live, strict=True) if used]
            *direct, of_gradient = torch.autograd.grad(
                outputs, inputs, weights, retain_graph=True, materialize_grads=True
            )
            results.append((point.state.with_tensors([*direct, u.buffers])._replace(integers=()), of_gradient))
        return results

    def _optimizer_pushforward(
        self, point: Point, tangents: Sequence[FlatState], changes: Sequence[tuple[Tensor, Tensor]]
    ) -> list[FlatState]:
        """Return DD·(e_θ, e_s, dg) for each tangent, with dg and the buffers' change given.

        The derivative along a tangent is that of the pullback, which is linear in its cotangent.
        """
        inputs, outputs, live = self._optimizer_graph(point)
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

    def _optimizer_graph(self, point: Point) -> tuple[list[Tensor], list[Tensor], list[bool]]:
        """Return the inputs (θ, s, g) of D, its outputs inside one graph, and which of (θ', s') those are.

        A slot that the step overwrites with a constant depends on nothing and is left out.
        """
        state = point.state
        leaves = [t.detach().requires_grad_(True) for t in [*state.tensors()[:-1], point.evaluation.gradient]]
        with torch.enable_grad():
            start = state.with_tensors([*leaves[:-1], state.buffers])
            parameters, slots = self.update(start.parameters, start.slots, leaves[-1], point.step)
        after = FlatState(parameters, slots, state.buffers).tensors()[:-1]
        return leaves, [t for t in after if t.requires_grad], [t.requires_grad for t in after]

    def _held(
        self, before: FlatState, parameters: Tensor, slots: tuple[Slots, ...], present: Tensor
    ) -> tuple[Tensor, tuple[Slots, ...]]:
        """Return (θ', s') with everything of parameters that got no gradient left as it was, as PyTorch leaves it.

        The counter of a group stays where none of its parameters got one.
        """
        kept = tuple(
            {n: torch.where(present[s] if t.dim() else present[s].any(), t, old[n]) for n, t in own.items()}
            for s, own, old in zip(self.layout.group_slices, slots, before.slots, strict=True)
        )
        return torch.where(present, parameters, before.parameters), kept


def restarted(state: FlatState, step: Step) -> FlatState:
    """Return the state (or the cotangent, or the tangent) as ``step`` reads it.

    Where the step resets the optimizer, its slots are at zero, where they start.
    """
    if not step.resets_optimizer:
        return state
    slots = tuple({name: torch.zeros_like(t) for name, t in own.items()} for own in state.slots)
    return state._replace(slots=slots)


def clipped(gradient: Tensor, step: Step, layout: Layout) -> Tensor:
    """Return the gradient (P,) after ``clip_grad_value_`` or ``clip_grad_norm_``, with their operations.

    Parameters that the step does not train have no part in the norm.
    """
    clip = step.clip
    if clip is None:
        return gradient
    if clip.value is not None:
        return gradient.clamp(-clip.value, clip.value)
    if clip.norm is None:
        return gradient
    trained = [dynamics is not RESTING for dynamics in step.dynamics]
    views = [view for view, group in zip(layout.views(gradient), layout.groups, strict=True) if trained[group]]
    norms = [torch.linalg.vector_norm(view, clip.norm_type) for view in views]
    norm = torch.linalg.vector_norm(torch.stack(norms), clip.norm_type)
    return gradient * torch.clamp(clip.norm / (norm + 1e-6), max=1.0)
