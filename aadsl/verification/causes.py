"""Why a replay does not end where the run did: each suspicion changes one thing, and is the cause if that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from math import inf

import numpy as np
import torch

from aadsl.trajectory import BUFFERS_WRITTEN, OPTIMIZER_WRITTEN, WEIGHTS_WRITTEN, Job, Trajectory
from aadsl.verification.forwards import Suspicion, autocast, dropout_rate, mode, noise, unrecorded_draws
from aadsl.verification.gradients import (
    accumulation,
    clipping,
    first_off,
    of_a_part,
    one_step,
    other_rate,
    other_scale,
    told_weights,
)
from aadsl.verification.report import Finding
from aadsl.verification.stretch import SpentError, Stretch, affordable

# A change in a few elements of the state, and in no other, is no matter of training.
_FEW = 3
_MOST = 0.9
_FAR = 30.0


def explain(trajectory: Trajectory, wrong: list[Stretch], count: int) -> Iterator[Finding]:
    """Yield why ``wrong`` stretches, of ``count`` that were replayed, do not fit."""
    stretch = min(wrong, key=len)
    steps = f"steps {stretch.start} … {stretch.stop - 1}" if len(stretch) > 1 else f"step {stretch.start}"
    where = f"the replay of {steps} ends elsewhere than the run"
    where += f" (off by {stretch.deviation:.1%} of what it moved; {len(wrong)} of {count} stretches do not fit)"
    cause, text = _suspected(trajectory, wrong, stretch, count) or _what_remains(trajectory, stretch)
    yield Finding("failed", f"{text}; {where}", cause)


def _suspected(trajectory: Trajectory, wrong: list[Stretch], stretch: Stretch, count: int) -> Suspicion:
    """Return the first suspicion that explains it; to try them takes as many steps as the run has, at most."""
    history = stretch.history
    for one in wrong:
        one.most = history.replayed_steps + affordable(history)
    suspicions = (
        partial(unrecorded_draws, trajectory, stretch),
        partial(_average, trajectory, wrong),
        partial(_buffers, trajectory, wrong),
        partial(_single_weights, trajectory, stretch),
        partial(dropout_rate, trajectory, stretch),
        partial(mode, trajectory, stretch),
        partial(told_weights, trajectory, stretch),
        partial(accumulation, trajectory, stretch),
        partial(other_scale, trajectory, wrong),
        partial(other_rate, trajectory, stretch),
        partial(clipping, trajectory, stretch),
        partial(one_step, trajectory, stretch),
        partial(autocast, trajectory, stretch),
        partial(_writing, trajectory, wrong),
        partial(of_a_part, trajectory, stretch),
        partial(noise, trajectory, stretch),
    )
    with suppress(SpentError):
        for suspicion in suspicions:
            if found := suspicion():
                return found
    return _part(trajectory, wrong, count)


def _single_weights(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """A stored state of which few elements are off, while all others fit."""
    names = stretch.history.objective.parameters
    outcome, target = (stretch.parts(state)[0].double() for state in (stretch.outcome, stretch.target))
    difference = (outcome - target).square()
    if len(difference) < 10 * _FEW or not torch.isfinite(difference).all() or not difference.any():
        return None
    largest = difference.topk(_FEW)
    if float(largest.values.sum()) < _MOST * float(difference.sum()):
        return None
    # Another gradient changes few elements of Adam's first step, but all moments, and by no more than the others moved.
    moved = float((target - stretch.parts(stretch.before)[0].double()).square().median())
    parts = zip(stretch.parts(stretch.target), stretch.distances(stretch.outcome, stretch.target), strict=True)
    _, *others = [distance for part, distance in parts if part.numel()]
    if max(others, default=inf) > stretch.tolerance and float(largest.values[0]) < _FAR * moved:
        return None
    place = int(largest.indices[0])
    name = names.names[int(np.searchsorted(names.offsets, place, side="right")) - 1]
    return (
        "changed weight",
        f'a few values of "{name}" were changed by hand before step {stretch.start} or {stretch.stop}: all others fit',
    )


def _average(trajectory: Trajectory, wrong: list[Stretch]) -> Suspicion:
    """All ends where the run did but the average of the weights that is asked about."""
    if wrong[0].history.average is None:
        return None
    for stretch in wrong:
        *others, parameters, buffers, _ = stretch.distances(stretch.outcome, stretch.target)
        if max(others) > stretch.tolerance or not max(parameters, buffers) > stretch.tolerance:
            return None
    return (
        "other average",
        "the run ends where it did, but the average of the weights that the loop kept does not: something else than "
        "taking the model in after a step wrote to it, or it did so before the step, or takes in parts of the model",
    )


def _buffers(trajectory: Trajectory, wrong: list[Stretch]) -> Suspicion:
    """Weights end where the run did, and what the optimizer keeps; buffers, which no loss read, do not."""
    for stretch in wrong:
        *others, buffers = stretch.distances(stretch.outcome, stretch.target)
        if max(others) > stretch.tolerance or not buffers > stretch.tolerance:
            return None
    names = wrong[0].history.objective.buffers.names
    return (
        "buffers written",
        f"the weights end where the run did, but buffers ({', '.join(names[:2])}{' …' if len(names) > 2 else ''}) do "
        "not: the model was called in train mode outside of its training steps, or something else wrote to them",
    )


_KINDS = {
    WEIGHTS_WRITTEN: ("weights written", "something else than the optimizer wrote to the weights"),
    OPTIMIZER_WRITTEN: ("optimizer written", "another state was loaded into the optimizer"),
    BUFFERS_WRITTEN: ("buffers written", "something else than training passes wrote to the model's buffers"),
}


def _writing(trajectory: Trajectory, wrong: list[Stretch]) -> Suspicion:
    """In all that does not fit, something wrote to the state between two steps, up to where the losses agree."""
    for name, (cause, what) in _KINDS.items():
        if name not in trajectory.steps:
            continue
        written = np.flatnonzero(trajectory.steps[name].values == 1)
        within = [written[(stretch.start <= written) & (written <= stretch.stop)] for stretch in wrong]
        if not all(map(len, within)):
            continue
        off = first_off(trajectory, wrong[0])
        if off and off[0] < within[0][0]:
            continue
        more = f" and before {len(written) - 1} other steps" if len(written) > 1 else ""
        first = min(part[0] for part in within)
        return cause, f"before step {first}{more}, {what}; unless that is what was there, this is why"
    return None


def _part(trajectory: Trajectory, wrong: list[Stretch], count: int) -> Suspicion:
    """Model, loss and data are right elsewhere."""
    if len(wrong) == count:
        return None
    off = first_off(trajectory, wrong[0])
    if off:
        text = f"until step {off[0]} the losses are those that were recorded: {off[1]}"
        return "some steps differ", (
            f"{text}; another batch was used there than the one announced, or the loss was another, or the step before "
            "was not as recorded (its gradient, or what the optimizer keeps)"
        )
    if "loss" in trajectory.steps:
        steps = f"{wrong[0].start} … {wrong[0].stop - 1}"
        return "changed gradient", (
            f"the losses of steps {steps} are those that were recorded, but the steps end elsewhere: gradients were "
            "changed between backward and step, or something else than a step changed what the optimizer keeps"
        )
    places = ", ".join(f"{stretch.start} … {stretch.stop - 1}" for stretch in wrong[:3])
    return (
        "some steps differ",
        f"loss and data are right in other steps, but somewhere in {places}{' …' if len(wrong) > 3 else ''} "
        "the loss was another, other batches were used than those announced, or gradients were changed",
    )


def _job(trajectory: Trajectory, step: int) -> Job:
    return next(job for job in trajectory.jobs if job.start <= step < job.stop)


def _what_remains(trajectory: Trajectory, stretch: Stretch) -> tuple[str, str]:
    """Data that were compared leave the loss, or the model's code; otherwise it may be either."""
    off = first_off(trajectory, stretch)
    if "loss" in trajectory.steps and (off is None or off[0] > stretch.start):
        return "changed gradient", (
            "the loss agrees with the recorded one, but the step that followed does not: the gradient was changed "
            "between backward and step, or something else than the optimizer's step changed what it keeps"
        )
    said = f"{off[1]}: " if off else ""
    stored = trajectory.micro_batches(stretch.start) is not None
    known = _job(trajectory, stretch.start).fingerprints.get("data", {})
    if "random" in known and not (stored or any(trajectory.rng_states(stretch.start, loader=True))):
        return "random data", f"{said}the data give other examples each time they are asked, or this is another loss"
    if stored or len(known) > 1:
        return "other loss", (
            f"{said}this is another loss, other batches were used than those announced, "
            f"or the model computes something else{'' if stored else '; of the data only a sample was compared'}"
        )
    return "other loss or data", f"{said}these are other data, another order of them, or another loss"
