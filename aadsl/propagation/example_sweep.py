"""The adjoint sweep that asks each step what its single examples did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aadsl.core.progress import Progress, silent
from aadsl.propagation.curvature import Curvature
from aadsl.propagation.finite import NotFiniteError
from aadsl.propagation.layout import FlatState
from aadsl.propagation.replay import backward
from aadsl.propagation.step import Run
from aadsl.propagation.step_map import StepMap


class StepExamples(NamedTuple):
    """What the examples of one step did.

    Attributes:
        step: t.
        scores: (K, n) of each of its n examples, on each of K behaviors; float64.
    """

    step: int
    scores: NDArray[np.float64]


def example_sweep(
    run: Run,
    step_map: StepMap,
    cotangents: Sequence[FlatState],
    curvature: Curvature,
    *,
    wanted: NDArray[np.bool_],
    limit: int = 64,
    progress: Progress = silent,
) -> Iterator[StepExamples]:
    """Yield what the examples did of each step that is ``wanted`` (T,), the last one first.

    u_T = ∇γ(ξ_T);   score_{t,i} = ⟨u_{t+1}, ∂Φ_t/∂w_i⟩;   u_t = DΦ_tᵀ u_{t+1}

    with w_i the weight of example i in the loss of step t: the derivative of the behavior in that weight, and to first
    order the effect of leaving the example out of that step, γ(w_i = 1) − γ(w_i = 0). Beyond :func:`adjoint_sweep` it
    takes one more backward pass a behavior at each wanted step, for all of its examples at once.

    Raises:
        NotFiniteError: a score is not a finite number; the message says at which step.
        AadslError: the examples of a step have no part of the loss of their own.
    """
    first = int(np.argmax(wanted))
    for taken in backward(run, step_map, first, None, limit, progress):
        t = taken.step.index
        if wanted[t]:
            scores = torch.stack(step_map.example_scores(taken.here, cotangents)).double().cpu().numpy()
            if not np.isfinite(scores).all():
                raise NotFiniteError(t, run.length)
            yield StepExamples(t, scores)
        if t > first:
            cotangents = step_map.pullback(taken.here, cotangents, curvature)
        progress("sweep", run.length - t, run.length - first)
