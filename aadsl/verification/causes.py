"""Why a replay does not end where the run did: each suspicion changes one thing, and is the cause if that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import inf, isclose, isnan

import numpy as np
import torch

from aadsl.core.clip import Clip
from aadsl.propagation import Step, Variation
from aadsl.trajectory import WEIGHTS_WRITTEN, Job, Trajectory
from aadsl.verification.report import Finding
from aadsl.verification.stretch import Stretch

# A change in a few elements of the state, and in no other, is no matter of training.
_FEW = 3
_MOST = 0.9
_FAR = 30.0
_LONGEST = 40
_ALIKE = 2.0


def explain(trajectory: Trajectory, wrong: list[Stretch], count: int) -> Iterator[Finding]:
    """Yield why ``wrong`` stretches, of ``count`` that were replayed, do not fit."""
    stretch = min(wrong, key=len)
    steps = f"steps {stretch.start} … {stretch.stop - 1}" if len(stretch) > 1 else f"step {stretch.start}"
    where = f"the replay of {steps} ends elsewhere than the run"
    where += f" (off by {stretch.deviation:.1%} of what it moved; {len(wrong)} of {count} stretches do not fit)"
    for suspicion in (_single_weights, _mode, _accumulation, _learning_rate, _clipping, _one_step, _noise):
        found = suspicion(trajectory, stretch)
        if found:
            cause, text = found
            yield Finding("failed", f"{text}; {where}", cause)
            return
    cause, text = _writing(trajectory, wrong) or _part(trajectory, wrong, count) or _what_remains(trajectory, stretch)
    yield Finding("failed", f"{text}; {where}", cause)


Suspicion = tuple[str, str] | None


def _single_weights(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """A stored state of which few elements are off, while all others fit."""
    names = stretch.history.objective.parameters
    outcome, target = (stretch.parts(state)[0].double() for state in (stretch.outcome, stretch.target))
    difference = (outcome - target).square()
    if len(difference) < 10 * _FEW or not torch.isfinite(difference).all():
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
        f'stored values of "{name}" were changed in the state before step {stretch.start} or {stretch.stop}',
    )


def _mode(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    if _mended(stretch, lambda step: replace(step, training=not step.training)):
        recorded, used = ("train", "eval") if trajectory.training(stretch.start) else ("eval", "train")
        return "other mode", f"the model was in {used} mode, although {recorded} mode was recorded"
    modules = trajectory.modules_off_mode(stretch.start)
    if modules and _mended(stretch, lambda step: replace(step, off_mode=())):
        return "other mode", f"{', '.join(modules[:3])} were in the model's mode, although the other was recorded"
    return None


def _accumulation(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """Micro-batches whose losses were not averaged, as those are that were told no weights."""
    said = "and recorder.batch(…, weight=…) was not told so"
    for counted, how in (
        (True, "the losses of micro-batches were weighted by their numbers of examples"),
        (False, "the losses of micro-batches were added up, not averaged"),
    ):

        def weighted(step: Step, counted: bool = counted) -> Step:
            sizes = trajectory.micro_batch_sizes(step.index)
            if step.weights or len(sizes) < 2:
                return step
            return replace(step, weights=tuple(size / max(1, sum(sizes)) if counted else 1.0 for size in sizes))

        steps = map(stretch.history.step, range(stretch.start, stretch.stop))
        if any(weighted(step) is not step for step in steps) and _mended(stretch, weighted):
            return "untold weights", f"{how}, {said}"
    return None


def _mended(stretch: Stretch, varied: Variation) -> bool:
    return stretch.deviation_of(stretch.replay(varied)) <= stretch.tolerance


def _rate(factor: float) -> Variation:
    return lambda step: replace(step, hyper=tuple({**h, "lr": h["lr"] * factor} for h in step.hyper))


def _recorded_rate(trajectory: Trajectory, index: int) -> float:
    """Return the learning rate of the first parameter group that the step trained."""
    groups = zip(trajectory.hyperparameters(index), trajectory.optimizers(index), strict=True)
    return next(float(hyper["lr"]) for hyper, optimizer in groups if optimizer)


def _weight(factor: float) -> Variation:
    return lambda step: replace(step, gradient_weight=factor)


def _clipped(by_value: bool, limit: float, factor: float) -> Variation:
    clip = Clip("value" if by_value else "norm", limit * factor)
    return lambda step: replace(step, clip=clip)


def _solved(stretch: Stretch, family: Callable[[float], Variation]) -> float | None:
    """Return the factor that mends the stretch, None where none does."""
    factor, deviation = stretch.solve(family)
    return factor if deviation <= stretch.tolerance else None


def _learning_rate(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    if len(stretch) > _LONGEST or (factor := _solved(stretch, _rate)) is None:
        return None
    recorded = _recorded_rate(trajectory, stretch.start)
    used = f"the learning rate was {recorded * factor:.4g}, not the recorded {recorded:.4g}"
    if not _has_memory(stretch) and _solved(stretch, _weight) is not None:
        if factor < 1:
            return "undeclared clip or other lr", f"{used}, or the gradient was clipped without clip= being declared"
        return "other loss or other lr", f"{used}, or the loss was {factor:.4g} times this one"
    return "other learning rate", used


def _has_memory(stretch: Stretch) -> bool:
    """Return whether the optimizer keeps something that tells a smaller gradient from a smaller step."""
    return any(slots for slots in stretch.target.slots) or any(
        h.get("weight_decay") for h in stretch.history.step(0).hyper
    )


def _clipping(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    if len(stretch) > _LONGEST:
        return None
    first = stretch.history.step(stretch.start)
    gradient = stretch.history.objective.evaluate(stretch.before, first).gradient
    if len(stretch) == 1 and (factor := _solved(stretch, _weight)) is not None:
        if factor > 1 or _first_off(trajectory, stretch):
            return "other loss", f"the loss of the run was {factor:.4g} times this one"
        limit = factor * float(gradient.norm())
        return "undeclared clip", f"the gradient was clipped to a norm of {limit:.4g}, and clip= was not declared"
    largest, norm = float(gradient.abs().max()), float(gradient.norm())
    for what, unit in (("a norm", norm), ("values", largest)):
        for start in (0.7, 0.2, 0.05, 0.01):
            factor = _solved(stretch, partial(_clipped, what == "values", start * unit))
            if factor is not None:
                limit = factor * start * unit
                return "undeclared clip", f"gradients were clipped to {what} of {limit:.4g}, and clip= was not declared"
    return None


def _one_step(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """One step of a longer stretch whose learning rate, or gradient, was another."""
    if not 1 < len(stretch) <= _LONGEST:
        return None
    for index in range(stretch.start, stretch.stop):

        def family(factor: float, index: int = index) -> Variation:
            change = _rate(factor)
            return lambda step: change(step) if step.index == index else step

        factor, deviation = stretch.solve(family, iterations=6)
        if deviation <= stretch.tolerance:
            recorded = _recorded_rate(trajectory, index)
            text = f"the learning rate of step {index} was {recorded * factor:.4g}, not the recorded {recorded:.4g}"
            return "other learning rate", text
    return None


def _noise(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The model draws random numbers, and what the run drew may be one more draw.

    Then the replay is as far off as two draws are from each other (much nearer, it drew the right numbers), and draws
    move the parameters about as far as the run did.
    """
    one, other = (stretch.replay(partial(_drawn, seed)) for seed in (1, 2))
    spread, moved = max(stretch.distances(one, other)), stretch.distances(one, stretch.before)[0]
    if not (spread / _ALIKE < stretch.deviation < spread * _ALIKE and 1 / _ALIKE < moved < _ALIKE):
        return None
    recorded = stretch.history.step(stretch.start).rng_states
    known = "the recorded generator state does not" if recorded else "no generator state was recorded to"
    return "other dropout", (
        f"the model draws random numbers (dropout), and {known} reproduce the run's; "
        "unless batches or a loss were others that matter as much"
    )


def _drawn(seed: int, step: Step) -> Step:
    """Return a step that draws other random numbers."""
    devices = step.rng_states[0] if step.rng_states else ("cpu",)
    states = {
        device: torch.Generator(device).manual_seed(1_000_003 * seed + step.index).get_state() for device in devices
    }
    return replace(step, rng_states=(states,) * max(1, len(step.rng_states)))


def _first_off(trajectory: Trajectory, stretch: Stretch) -> tuple[int, str] | None:
    """Return the first step whose loss is not the recorded one, and both in words; None where there is none."""
    if "loss" not in trajectory.steps:
        return None
    state = stretch.before
    for index in range(stretch.start, stretch.stop):
        step = stretch.history.step(index)
        recorded = float(trajectory.steps["loss"][index])
        replayed = float(stretch.history.objective.evaluate(state, step).loss)
        if not isnan(recorded) and not isclose(recorded, replayed, rel_tol=max(1e-5, stretch.tolerance), abs_tol=1e-6):
            return index, f"the loss at step {index} is {replayed:.6g}, recorded was {recorded:.6g}"
        state = stretch.history.step_map(state, step)
    return None


def _writing(trajectory: Trajectory, wrong: list[Stretch]) -> Suspicion:
    """In all that does not fit, something wrote to the weights between two steps."""
    if WEIGHTS_WRITTEN not in trajectory.steps:
        return None
    written = np.flatnonzero(trajectory.steps[WEIGHTS_WRITTEN].values == 1)
    within = [written[(stretch.start <= written) & (written <= stretch.stop)] for stretch in wrong]
    if not all(map(len, within)):
        return None
    more = f" and before {len(written) - 1} other steps" if len(written) > 1 else ""
    return (
        "weights written",
        f"before step {min(part[0] for part in within)}{more}, something else than the optimizer wrote to the weights; "
        "unless it wrote what was there, this is why",
    )


def _part(trajectory: Trajectory, wrong: list[Stretch], count: int) -> Suspicion:
    """Model, loss and data are right elsewhere."""
    if len(wrong) == count:
        return None
    off = _first_off(trajectory, wrong[0])
    if off and off[0] > wrong[0].start:
        text = f"until step {off[0]} the losses are those that were recorded: {off[1]}"
        return "some steps differ", f"{text}; another batch was used than the one announced, or the loss was another"
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
    off = _first_off(trajectory, stretch)
    if "loss" in trajectory.steps and (off is None or off[0] > stretch.start):
        return "changed record", (
            "the loss agrees with the recorded one, but the step that followed does not: a hyperparameter or a "
            "stored state was changed, or the gradient was, between backward and step"
        )
    said = f"{off[1]}: " if off else ""
    stored = trajectory.micro_batches(stretch.start) is not None
    known = _job(trajectory, stretch.start).fingerprints.get("data", {})
    if "random" in known and not stored:
        return "random data", f"{said}the data give other examples each time they are asked, or this is another loss"
    if stored or len(known) > 1:
        return "other loss", (
            f"{said}this is another loss, other batches were used than those announced, "
            "or the model computes something else"
        )
    return "other loss or data", f"{said}these are other data, another order of them, or another loss"
