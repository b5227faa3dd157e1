"""The adjoint sweep: effects of every step on a few behaviors, backwards through the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aadsl.core.progress import Progress, silent
from aadsl.propagation.curvature import Curvature
from aadsl.propagation.finite import NotFiniteError
from aadsl.propagation.layout import FlatState, alike, difference, inner
from aadsl.propagation.replay import ObservedStep, Variation, backward
from aadsl.propagation.step import Run
from aadsl.propagation.step_map import StepMap


class Sweep(NamedTuple):
    """Where an adjoint sweep stands before it treats step ``stop`` − 1, and in the end its result.

    Attributes:
        stop: steps ``stop`` … T − 1 are done.
        cotangents: u_stop, one for each behavior.
        scores: (V, T, K) ⟨u_{t+1}, Φ_t(ξ_t) − Ψ_t(ξ_t)⟩ of the done steps for each variation Ψ, else zero; float64.
        growth: (T, K) ‖u_t‖ of the done steps, zero elsewhere; float64.
    """

    stop: int
    cotangents: tuple[FlatState, ...]
    scores: Tensor
    growth: Tensor

    @classmethod
    def starting(cls, length: int, cotangents: Sequence[FlatState], variations: int = 1) -> Sweep:
        """Return the sweep at its start, u_T = ∇γ(ξ_T)."""
        empty = torch.zeros(variations, length, len(cotangents), dtype=torch.float64)
        return cls(length, tuple(cotangents), empty, empty[0].clone())

    def follows(self, start: Sweep, length: int) -> bool:
        """Return whether a sweep over ``length`` steps that began at ``start`` can stand here."""
        return (
            0 <= self.stop <= start.stop <= length
            and len(self.cotangents) == len(start.cotangents)
            and None not in self.cotangents
            and alike(self.scores, start.scores)
            and alike(self.growth, start.growth)
        )


def adjoint_sweep(
    run: Run,
    step_map: StepMap,
    sweep: Sweep,
    curvature: Curvature,
    *,
    jacobian: Variation,
    variations: Sequence[Variation],
    start: int = 0,
    limit: int = 64,
    progress: Progress = silent,
) -> Iterator[Sweep]:
    """Yield the sweep after every step, from T − 1 down to ``start``.

    u_T = ∇γ(ξ_T);   score_t = ⟨u_{t+1}, Φ_t(ξ_t) − Ψ_t(ξ_t)⟩;   u_t = DΨ_tᵀ u_{t+1}

    Args:
        run: the observed run.
        step_map: how a step changes the state, and its derivative.
        sweep: where to begin: :meth:`Sweep.starting`, or where an interrupted sweep stood.
        curvature: how Hessian-vector products are computed.
        jacobian: the steps whose derivative carries u: the observed ones for the first-order estimate (the paper's
            M_t everywhere), the counterfactual ones for the linearized one (eq. 24).
        variations: the steps Ψ_t that the scores compare with, in as many versions as are wanted.
        start: the first step of interest.
        limit: how many states may be held at a time.
        progress: called after each step.

    Raises:
        NotFiniteError: a score is not a finite number; the message says at which step.
    """
    scores, growth = sweep.scores.numpy(), sweep.growth.numpy()
    for taken in backward(run, step_map, start, sweep.stop, limit, progress):
        t = taken.step.index
        cotangents, numbers = carried_back(step_map, taken, sweep.cotangents, curvature, jacobian, variations)
        if not np.isfinite(numbers).all():  # the sweep that was yielded last stays finite: it shares the arrays
            raise NotFiniteError(t, run.length)
        scores[:, t], growth[t] = numbers[:-1], numbers[-1]
        sweep = Sweep(t, cotangents, sweep.scores, sweep.growth)
        progress("sweep", run.length - t, run.length - start)
        yield sweep


def carried_back(
    step_map: StepMap,
    taken: ObservedStep,
    cotangents: Sequence[FlatState],
    curvature: Curvature,
    jacobian: Variation,
    variations: Sequence[Variation],
) -> tuple[tuple[FlatState, ...], NDArray[np.float64]]:
    """Return u_t of the K cotangents u_{t+1}, and (V + 1, K) the scores of each variation, ‖u_t‖ below."""
    removed = [source(step_map, taken, varied) for varied in variations]
    products = [inner(u, change) for change in removed if change is not None for u in cotangents]
    carrier = jacobian(taken.step)
    point = taken.point(step_map, carrier)
    if point is None:
        carried = [step_map.rest_pullback(taken.state, carrier, u) for u in cotangents]
    else:
        carried = step_map.pullback(point, cotangents, curvature)
    # One transfer a step: on a GPU each waits for all that is under way.
    lengths = [u.parameters.norm().double() for u in carried]
    numbers = np.zeros((len(removed) + 1, len(carried)))
    found = [change is not None for change in removed]
    numbers[[*found, True]] = torch.stack([*products, *lengths]).cpu().numpy().reshape(-1, len(carried))
    return tuple(carried), numbers


def source(step_map: StepMap, taken: ObservedStep, varied: Variation) -> FlatState | None:
    """Return Φ_t(ξ_t) − Ψ_t(ξ_t), or None where Ψ_t is Φ_t."""
    other = varied(taken.step)
    if other is taken.step:
        return None
    still = not (other.applied or other.restarted or (other.averaging and not other.averaging.of_step))
    if still and other.displacement is None:
        return taken.change
    after, _ = step_map.advance(taken.state, other, taken.evaluation_for(step_map, other))
    return difference(taken.after, after)
