"""Φ_t and its derivative: one optimizer step of the whole state, applied, pulled back and pushed forward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from aadsl.propagation.averaging import pulled, pushed, taken_in
from aadsl.propagation.curvature import Curvature, Point
from aadsl.propagation.deciding import decided
from aadsl.propagation.evaluation import Evaluation
from aadsl.propagation.example_products import example_products
from aadsl.propagation.in_place import Memory
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.objective import Objective
from aadsl.propagation.step import Step
from aadsl.propagation.update import pullback, pushforward, updated


class StepMap:
    """The map ξ_t → ξ_{t+1} of any :class:`Step`, observed or counterfactual.

    Φ_t(θ, s, b) = (D(θ, s, clip(w·g)), b'), with g the gradient of the mean loss, D the optimizer's elementwise step,
    s its slots and b' the buffers after the forward pass; at times a displacement is added. The derivative of D and of
    the clipping is that of :mod:`aadsl.propagation.update`, that of g and b' a :class:`Curvature`. The propagator
    matrix M_t (the paper's eq. 7) is never formed.
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

    def through(self, state: FlatState, steps: Iterable[Step]) -> FlatState:
        """Return the state after all of ``steps``, one after the other, with the bits that they have one by one.

        The states between share a memory and are never handed out; ``state`` stays as it is.
        """
        memory = Memory()
        for step in steps:
            state = self.advance(state, step, None, memory)[0]
        return state

    def advance(
        self, state: FlatState, step: Step, known: Evaluation | None = None, memory: Memory | None = None
    ) -> tuple[FlatState, Evaluation | None]:
        """Return the state after ``step`` and the evaluation it used (None where it needed none).

        ``known`` is an evaluation of the same batches at the same parameters, which saves computing it again. With a
        ``memory`` the state before may be gone, if that was made there: see :meth:`through`.
        """
        start = started(self.layout, state, step)
        if step.decides is not None:
            step = decided(self.objective.of(step), start, step)
        if not step.applied:
            return _averaged(displaced(start.bare, step), start, step), None
        evaluation = known or self.evaluate(start, step)
        with torch.no_grad():
            take = partial(updated, as_recorded=True) if memory is None else memory.updated
            parameters, slots = take(self.layout, start, evaluation.gradient, evaluation.present, step)
        after = displaced(FlatState(parameters, slots, evaluation.buffers, evaluation.integers), step)
        return _averaged(after, start, step), evaluation

    def pullback(self, point: Point, cotangents: Sequence[FlatState], curvature: Curvature) -> list[FlatState]:
        """Return DΦᵀ u for each cotangent u of the state after ``point.step``; Φ is that step, taken at the point."""
        step = point.step
        if point.state.average is not None:
            return self._pulled_averages(point, cotangents, curvature)
        left, point = point.state, point._replace(state=started(self.layout, point.state, step))
        cotangents = [displaced_along(u, step) for u in cotangents]
        direct_parts = pullback(self.layout, point, cotangents)
        if self._reads_no_data(point.state, step):
            return [begun_pulled(left, direct, step) for direct, _ in direct_parts]
        watched = bool(point.state.buffers.numel())
        wanted = [(c, u.buffers if watched else None) for (_, c), u in zip(direct_parts, cotangents, strict=True)]
        results = []
        for (direct, _), (theta, buffers) in zip(
            direct_parts, curvature.pullback(self.objective.of(step), point, wanted), strict=True
        ):
            result = direct._replace(parameters=direct.parameters + theta, buffers=buffers)
            results.append(begun_pulled(left, result, step))
        return results

    def pushforward(self, point: Point, tangents: Sequence[FlatState], curvature: Curvature) -> list[FlatState]:
        """Return DΦ e for each tangent e of the state before ``point.step``."""
        if point.state.average is not None:
            return self._pushed_averages(point, tangents, curvature)
        tangents = [begun_along(point.state, e, point.step) for e in tangents]
        point = point._replace(state=started(self.layout, point.state, point.step))
        moving = [(e.parameters, e.buffers) for e in tangents]
        if self._reads_no_data(point.state, point.step):
            changes = [(torch.zeros_like(e), b) for e, b in moving]
        else:
            changes = curvature.pushforward(self.objective.of(point.step), point, moving)
        return [displaced_along(e, point.step) for e in pushforward(self.layout, point, tangents, changes)]

    def example_scores(self, point: Point, cotangents: Sequence[FlatState]) -> list[Tensor]:
        """Return ⟨u, ∂Φ/∂w_i⟩ of each example i of the step, (n,) for each cotangent u of the state after it.

        w_i is the weight of the example's loss, 1 as observed. With g = Σ_i w_i g_i, and g_i its share of the gradient,
        that is ⟨(∂D/∂g)ᵀ u, g_i⟩: the optimizer is differentiated at the whole gradient, clipping with it.
        """
        cotangents = [displaced_along(u.bare, point.step) for u in self._before_averaging(point, cotangents)]
        point = point._replace(state=started(self.layout, point.state.bare, point.step))
        directions = [of_gradient for _, of_gradient in pullback(self.layout, point, cotangents)]
        return example_products(self.objective.of(point.step), point.state, point.step, directions)

    def rest_pullback(self, state: FlatState, step: Step, u: FlatState) -> FlatState:
        """Return the cotangent before a step that is not applied: it moves nothing but an average, at times."""
        averaging = step.averaging if _takes_in(step) else None
        if averaging is not None and state.average is not None:
            u = pulled(u, displaced(state.bare, step), state.average, averaging)
        return begun_pulled(state, displaced_along(u, step), step)

    def rest_pushforward(self, state: FlatState, step: Step, e: FlatState) -> FlatState:
        """Return the tangent after a step that is not applied."""
        e = displaced_along(begun_along(state, e, step), step)
        averaging = step.averaging if _takes_in(step) else None
        if averaging is None or state.average is None or e.average is None:
            return e
        return pushed(e, e.average, displaced(state.bare, step), state.average, averaging)

    def _pulled_averages(self, point: Point, cotangents: Sequence[FlatState], curvature: Curvature) -> list[FlatState]:
        cotangents = self._before_averaging(point, cotangents)
        bare = point._replace(state=point.state.bare)
        results = self.pullback(bare, [u.bare for u in cotangents], curvature)
        return [result._replace(average=u.average) for result, u in zip(results, cotangents, strict=True)]

    def _before_averaging(self, point: Point, cotangents: Sequence[FlatState]) -> Sequence[FlatState]:
        """Return the cotangents between the update of a step and what an average takes in of it."""
        average, averaging = point.state.average, point.step.averaging
        if average is None or averaging is None:
            return cotangents
        after = _left(point)
        return [pulled(u, after, average, averaging) for u in cotangents]

    def _pushed_averages(self, point: Point, tangents: Sequence[FlatState], curvature: Curvature) -> list[FlatState]:
        average, averaging, after = point.state.average, point.step.averaging, _left(point)
        results = self.pushforward(point._replace(state=point.state.bare), [e.bare for e in tangents], curvature)
        found = []
        for result, e in zip(results, tangents, strict=True):
            assert average is not None and e.average is not None
            found.append(
                result._replace(average=e.average)
                if averaging is None
                else pushed(result, e.average, after, average, averaging)
            )
        return found

    def evaluate(self, state: FlatState, step: Step) -> Evaluation:
        """Return loss and gradient of ``step`` at θ_t; nothing is computed where the gradient has no weight."""
        if not self._reads_no_data(state, step):
            return self.objective.of(step).evaluate(state, step)
        nothing = torch.zeros_like(state.parameters)
        return Evaluation(nothing.new_zeros(()), nothing, None, state.buffers, state.integers)

    def _reads_no_data(self, state: FlatState, step: Step) -> bool:
        """Return whether the batch cannot matter: its gradient has no weight and there are no statistics to update."""
        return step.gradient_weight == 0 and not state.buffers.numel()


def _takes_in(step: Step) -> bool:
    """Return whether an average takes in what a step leaves: one of the step does not where that is not applied."""
    return step.averaging is not None and (step.applied or not step.averaging.of_step)


def _averaged(after: FlatState, before: FlatState, step: Step) -> FlatState:
    """Return the state after a step with its average."""
    if before.average is None:
        return after
    if step.averaging is None or not _takes_in(step):
        return after._replace(average=before.average)
    return taken_in(after, before.average, step.averaging)


def _left(point: Point) -> FlatState:
    """Return what the observed step left, as far as an average takes it in."""
    return point.state.bare._replace(parameters=point.after, buffers=point.evaluation.buffers)


def displaced(state: FlatState, step: Step) -> FlatState:
    """Return a state after ``step``, moved by what else moved it there."""
    return state if step.displacement is None else step.displacement(state)


def displaced_along(change: FlatState, step: Step) -> FlatState:
    """Return a tangent after ``step``, or the cotangent before that, with the derivative of :func:`displaced`."""
    return change if step.displacement is None else step.displacement.along(change)


def started(layout: Layout, state: FlatState, step: Step) -> FlatState:
    """Return the state as ``step`` reads it: where its run begins, with what that does of the one before.

    Where the step restarts an optimizer, its slots are as they start.
    """
    if step.joining is not None:
        state = step.joining(state)
    if not step.restarted:
        return state
    slots = list(state.slots)
    for group in step.restarted:
        fresh = step.dynamics[group].initial(state.parameters[layout.group_slices[group]], step.hyper[group])
        slots[group] = {name: fresh.get(name, torch.zeros_like(t)) for name, t in slots[group].items()}
    return state._replace(slots=tuple(slots))


def begun_along(state: FlatState, e: FlatState, step: Step) -> FlatState:
    """Return a tangent of ``state`` as ``step`` reads it, with the derivative of :func:`started`."""
    return _without_slots(e if step.joining is None else step.joining.along(state, e), step)


def begun_pulled(state: FlatState, u: FlatState, step: Step) -> FlatState:
    """Return the cotangent of ``state`` before ``step`` for that of the state as it reads it."""
    u = _without_slots(u, step)
    return u if step.joining is None else step.joining.pulled(state, u)


def _without_slots(state: FlatState, step: Step) -> FlatState:
    """Return a cotangent or tangent without the slots that a step restarts: what they were does not matter."""
    if not step.restarted:
        return state
    slots = list(state.slots)
    for group in step.restarted:
        slots[group] = {name: torch.zeros_like(t) for name, t in slots[group].items()}
    return state._replace(slots=tuple(slots))
