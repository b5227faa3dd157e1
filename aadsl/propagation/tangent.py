"""The tangent sweep: the effect of a few stages on the whole state, forwards through the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from aadsl.core.progress import Progress, silent
from aadsl.propagation.adjoint import source
from aadsl.propagation.curvature import Curvature
from aadsl.propagation.finite import NotFiniteError
from aadsl.propagation.layout import FlatState, total, zeros_like
from aadsl.propagation.replay import Variation, final_state, forward
from aadsl.propagation.step import Run, Step
from aadsl.propagation.step_map import StepMap


class Tangents(NamedTuple):
    """Where a tangent sweep stands before it treats step ``start``.

    Attributes:
        start: steps before ``start`` are done.
        states: e_start of each stage; None for zero, where nothing has differed yet.
    """

    start: int
    states: tuple[FlatState | None, ...]

    def follows(self, start: Tangents, length: int) -> bool:
        """Return whether a sweep over ``length`` steps that began at ``start`` can stand here."""
        return start.start <= self.start <= length and len(self.states) == len(start.states)


def tangent_sweep(
    run: Run,
    step_map: StepMap,
    tangents: Tangents,
    curvature: Curvature,
    *,
    jacobians: Sequence[Variation],
    varied: Sequence[Variation],
    progress: Progress = silent,
) -> Iterator[Tangents]:
    """Yield e, the estimated effect of each stage on the state, after every step; :func:`at_end` makes e_T of it.

    e_0 = 0;   e_{t+1} = DΨ_t(ξ_t) e_t + [Φ_t(ξ_t) − Ψ_t(ξ_t)]        (the paper's eqs. 8 and 24)

    Args:
        run: the observed run.
        step_map: how a step changes the state, and its derivative.
        tangents: where to begin: zeros before the first step at which a stage differs, or where a sweep stood.
        curvature: how Hessian-vector products are computed.
        jacobians: for each stage the steps whose derivative carries e.
        varied: for each stage the counterfactual steps Ψ_t.
        progress: called after each step.

    Raises:
        NotFiniteError: a tangent is not finite; the message says at which step.
    """
    first = tangents.start
    for taken in forward(run, step_map, first, progress=progress):
        t = taken.step.index
        states = list(tangents.states)
        moving: dict[int, tuple[Step, list[int]]] = {}
        for position, tangent in enumerate(states):
            if tangent is not None:
                step = jacobians[position](taken.step)
                moving.setdefault(id(step), (step, []))[1].append(position)
        for step, positions in moving.values():
            point = taken.point(step_map, step)
            before = [e for e in (states[p] for p in positions) if e is not None]
            if point is None:
                pushed = [step_map.rest_pushforward(taken.state, step, e) for e in before]
            else:
                pushed = step_map.pushforward(point, before, curvature)
            for position, after in zip(positions, pushed, strict=True):
                states[position] = after
        for position, variation in enumerate(varied):
            removed = source(step_map, taken, variation)
            known = states[position]
            if removed is not None:
                states[position] = removed if known is None else total(known, removed)
        _require_finite(states, t, run.length)
        tangents = Tangents(t + 1, tuple(states))
        progress("sweep", t + 1 - first, run.length - first)
        yield tangents


def at_end(run: Run, step_map: StepMap, tangents: Tangents) -> list[FlatState]:
    """Return e_T of each stage."""
    zero = zeros_like(final_state(run, step_map))
    return [zero if e is None else e for e in tangents.states]


def _require_finite(tangents: Sequence[FlatState | None], t: int, length: int) -> None:
    for e in tangents:
        if e is not None and not bool(torch.isfinite(e.parameters.sum())):
            raise NotFiniteError(t, length)
