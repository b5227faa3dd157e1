"""Counterfactual runs that advance together: one gradient of stacked parameters instead of many of single ones.

Replica 0 is the control run: nothing is changed in it. Others are forked from it when their first change comes. A
gradient over stacked parameters rounds otherwise than one alone, so effects are differences to the control run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch

from aadsl.core.progress import Progress, silent
from aadsl.propagation.refusals import refusals
from aadsl.propagation.replay import Variation
from aadsl.propagation.replicas import Replicas
from aadsl.propagation.reruns import End, divergence
from aadsl.propagation.stacked import StackedObjective, advance
from aadsl.propagation.step import Run
from aadsl.propagation.step_map import StepMap


def ensemble(
    run: Run,
    step_map: StepMap,
    varied: Sequence[Variation],
    firsts: Sequence[int],
    *,
    size: int,
    progress: Progress = silent,
) -> Iterator[End]:
    """Yield the end of each counterfactual run, ``size`` of them and a control run at a time.

    Args:
        run: the observed run.
        step_map: how a step changes the state.
        varied: for each run its steps Ψ_t, equal to the observed ones before its first change.
        firsts: the first step at which each differs; runs that differ at about the same time advance together.
        size: how many at once, besides the control run.
        progress: called after each step.

    Raises:
        CannotAdvanceTogetherError: the model or the loss refuses stacked parameters.
        AadslError: a run leaves the finite numbers; the others were yielded before.
    """
    order = sorted(range(len(firsts)), key=lambda i: firsts[i])
    parts = [order[a : a + size] for a in range(0, len(order), size)]
    starts = [max(t for t in run.checkpoints if t <= firsts[part[0]]) for part in parts]
    done, total, diverged = 0, sum(run.length - start for start in starts), False
    for part, start in zip(parts, starts, strict=True):
        replicas = Replicas(run.state(start), len(part) + 1)
        objective = StackedObjective(step_map.objective)
        waiting = {t: list(positions) for t, positions in groupby(part, key=lambda i: firsts[i])}
        riding: list[int] = []
        for t in range(start, run.length):
            for position in waiting.get(t, ()):
                replicas.fork()
                riding.append(position)
            step = run.step(t)
            steps = [step, *(varied[position](step) for position in riding)]
            with refusals():
                advance(step_map, objective, replicas, steps)
            done += 1
            progress("retraining", done, total)
        control = replicas.state(0)
        for row, position in enumerate(riding, 1):
            state = replicas.state(row)
            if bool(torch.isfinite(state.parameters).all()):
                yield End(position, state, (control,))
            else:
                diverged = True
    if diverged:
        raise divergence()
