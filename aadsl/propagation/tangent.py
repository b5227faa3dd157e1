"""The tangent sweep: the effect of a few stages on the whole state, forwards through the run."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from aadsl.errors import AadslError
from aadsl.propagation.adjoint import source
from aadsl.propagation.curvature import Curvature
from aadsl.propagation.layout import FlatState, total, zeros_like
from aadsl.propagation.replay import Variation, final_state, forward
from aadsl.propagation.step import Progress, Run, Step, silent
from aadsl.propagation.step_map import StepMap


def tangent_sweep(
    run: Run,
    step_map: StepMap,
    curvature: Curvature,
    *,
    jacobians: Sequence[Variation],
    varied: Sequence[Variation],
    start: int = 0,
    progress: Progress = silent,
) -> list[FlatState]:
    """Return e_T, the estimated effect of each stage on the final state.

    e_0 = 0;   e_{t+1} = DΨ_t(ξ_t) e_t + [Φ_t(ξ_t) − Ψ_t(ξ_t)]        (the paper's eqs. 8 and 24)

    Args:
        run: the observed run.
        step_map: how a step changes the state, and its derivative.
        curvature: how Hessian-vector products are computed.
        jacobians: for each stage the steps whose derivative carries e.
        varied: for each stage the counterfactual steps Ψ_t.
        start: the first step at which any stage differs from the observed run.
        progress: called after each step.

    Raises:
        AadslError: a tangent is not finite; the message says at which step.
    """
    tangents: list[FlatState | None] = [None] * len(varied)
    for moment in forward(run, step_map, start):
        t = moment.step.index
        moving: dict[int, tuple[Step, list[int]]] = {}
        for position, tangent in enumerate(tangents):
            if tangent is not None:
                step = jacobians[position](moment.step)
                moving.setdefault(id(step), (step, []))[1].append(position)
        for step, positions in moving.values():
            point = moment.point(step_map, step)
            if point is None:
                continue
            pushed = step_map.pushforward(
                point, [e for e in (tangents[p] for p in positions) if e is not None], curvature
            )
            for position, after in zip(positions, pushed, strict=True):
                tangents[position] = after
        for position, variation in enumerate(varied):
            removed = source(step_map, moment, variation)
            known = tangents[position]
            if removed is not None:
                tangents[position] = removed if known is None else total(known, removed)
        _require_finite(tangents, t)
        progress("sweep", t + 1 - start, run.length - start)
    zero = zeros_like(final_state(run, step_map))
    return [zero if e is None else e for e in tangents]


def _require_finite(tangents: Sequence[FlatState | None], t: int) -> None:
    for e in tangents:
        if e is not None and not bool(torch.isfinite(e.parameters.sum())):
            raise AadslError(
                f"the sweep left the finite numbers at step {t}",
                hint="training is unstable there; ask for the exact answer: retraining()",
            )
