"""Suspicions about the gradient: its size, its clipping, what only a part of the model got; and the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from math import isclose, isnan

import torch
from torch import Tensor

from aadsl.core.clip import Clip
from aadsl.propagation import FlatState, Step, Variation
from aadsl.trajectory import Trajectory
from aadsl.verification.forwards import LONGEST, Suspicion, mended
from aadsl.verification.rounding import pieces
from aadsl.verification.stretch import Stretch

_COMPARED = 3  # stretches of which the factors are compared
# How near factors of several stretches are that are one factor, and a factor to the number that explains it.
_SAME = 1e-3


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


def told_weights(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """Micro-batches whose weights were told, and are not those that were measured."""
    weights = stretch.history.weights
    for index in range(stretch.start, stretch.stop):
        for told, seen in zip(trajectory.micro_batch_weights(index), weights.measured(index), strict=False):
            if not isclose(told, seen, rel_tol=_SAME):
                if not mended(stretch, lambda step: replace(step, weights=weights.measured(step.index))):
                    return None
                return "told weights", (
                    f"recorder.batch(…, weight={told:.4g}) was told at step {index}, but the loss on which backward() "
                    f"was called was {seen:.4g} times this one; leave weight= out, and it is measured"
                )
    return None


def accumulation(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """Micro-batches whose losses were not averaged, as those are of which no weights were told or measured."""
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
        if any(weighted(step) is not step for step in steps) and mended(stretch, weighted):
            return "untold weights", f"{how}, {said}"
    return None


def _varied(stretch: Stretch, family: Callable[[float], Variation], factor: float) -> FlatState:
    return stretch.replay(family(factor))


def _solved(stretch: Stretch, family: Callable[[float], Variation]) -> float | None:
    """Return the factor that mends the stretch, None where none does."""
    factor, deviation = stretch.solve(partial(_varied, stretch, family))
    return factor if deviation <= stretch.tolerance else None


def _solved_from(stretch: Stretch, guesses: Sequence[float]) -> float | None:
    """Return the factor on the gradient that mends the stretch: from far away, Adam's slots do not lead there."""
    for guess in dict.fromkeys(guesses):
        factor = _solved(stretch, partial(_weighted, guess))
        if factor is not None:
            return guess * factor
    return None


def _weighted(guess: float, factor: float) -> Variation:
    return _weight(guess * factor)


def other_scale(trajectory: Trajectory, wrong: Sequence[Stretch]) -> Suspicion:
    """The loss of the run was a multiple of the one given: everywhere the same, unlike what a clip leaves.

    Of one step alone that cannot be told from a clip, unless the factor is one that losses differ by.
    """
    short = sorted((stretch for stretch in wrong if len(stretch) <= LONGEST), key=len)[:_COMPARED]
    if not short:
        return None
    first = short[0]
    parts = len(trajectory.micro_batch_sizes(first.start))
    examples = sum(trajectory.micro_batch_sizes(first.start)) // parts
    found = (_solved_from(stretch, (1.0, examples, parts)) for stretch in short)
    factors = [factor for factor in takewhile(lambda factor: factor is not None, found) if factor is not None]
    if len(factors) < len(short):
        return None
    factor, *others = factors
    why = _reason(factor, examples, parts)
    if not (why or others or len(first) > 1) or not all(isclose(factor, other, rel_tol=_SAME) for other in others):
        return None
    said = f"the loss of the run was {factor:.4g} times this one{why}"
    if why or any(_has_memory(stretch) for stretch in short):
        return "other loss", said
    recorded = _recorded_rate(trajectory, first.start)
    said += f", or the learning rate was {recorded * factor:.4g}, not the recorded {recorded:.4g}"
    return "other loss or other lr", said


def _reason(factor: float, examples: int, parts: int) -> str:
    """Return why losses differ by this factor, where it is one of a kind."""
    for number, reason in ((parts, "micro-batches added up"), (examples, "a sum over the examples")):
        if number > 1 and isclose(factor, 1 / number, rel_tol=_SAME):
            return f"; the loss given is {number} times that of the run: {reason} instead of the mean?"
        if number > 1 and isclose(factor, number, rel_tol=_SAME):
            return f": {reason}, where the loss given is the mean?"
    return ""


def other_rate(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The learning rate was another one: where nothing tells it from a smaller gradient, that was clipped."""
    if len(stretch) > LONGEST or (factor := _solved(stretch, _rate)) is None:
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


def clipping(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The gradient was clipped, and that was not declared."""
    if len(stretch) > LONGEST:
        return None
    first = stretch.history.step(stretch.start)
    gradient = stretch.history.objective.evaluate(stretch.before, first).gradient
    if len(stretch) == 1 and (factor := _solved(stretch, _weight)) is not None:
        if factor > 1 or first_off(trajectory, stretch):
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


def one_step(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """One step of a longer stretch whose learning rate, or gradient, was another."""
    if not 1 < len(stretch) <= LONGEST:
        return None
    for index in range(stretch.start, stretch.stop):

        def family(factor: float, index: int = index) -> Variation:
            change = _rate(factor)
            return lambda step: change(step) if step.index == index else step

        factor, deviation = stretch.solve(partial(_varied, stretch, family), iterations=6)
        if deviation <= stretch.tolerance:
            recorded = _recorded_rate(trajectory, index)
            text = f"the learning rate of step {index} was {recorded * factor:.4g}, not the recorded {recorded:.4g}"
            return "other learning rate", text
    return None


def of_a_part(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """Only some tensors end elsewhere after one step, so that the gradient of these alone was another."""
    if len(stretch) > 1:
        return None
    history, step = stretch.history, stretch.history.step(stretch.start)
    layout, found = history.objective.parameters, history.objective.evaluate(stretch.before, step)

    def scaled(factor: float, part: Tensor) -> FlatState:
        gradient = torch.where(part, factor * found.gradient, found.gradient)
        return history.step_map.advance(stretch.before, step, found._replace(gradient=gradient))[0]

    off = _off(stretch, scaled(0.0, layout.mask([True] * len(layout.names), history.device)))
    names = [name for name, is_off in off.items() if is_off]
    if not 0 < len(names) < len(off):
        return None
    part = layout.mask([name in names for name in layout.names], history.device)
    factor, deviation = stretch.solve(partial(scaled, part=part))
    listed = ", ".join(f'"{name}"' for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    only = f"of {len(off)} trained tensors only {listed} {'end' if len(names) > 1 else 'ends'} elsewhere"
    if deviation <= stretch.tolerance and factor < 1:
        said = f"{only}: the gradient was {factor:.4g} times this one there, as by clipping a part of the model"
        return "changed gradient", said
    return "changed gradient", (
        f"{only}: the gradient was changed there between backward and step (by a hook, in place, by clipping a part of "
        "the model), or the loss had another term there"
    )


def _off(stretch: Stretch, still: FlatState) -> dict[str, bool]:
    """Return whether each trained tensor, or what the optimizer keeps of it, ends elsewhere than in the run.

    Nothing where buffers do: then the forward pass was another. What would end there without a gradient, ``still``,
    tells nothing of the gradient, and is left out, as is what rounding decides.
    """
    trained = set(stretch.history.objective.parameters.names)
    states = (stretch.outcome, stretch.target, stretch.before, still, stretch.firm)
    off: dict[str, bool] = {}
    for (name, end), (_, target), (_, before), (_, without), (_, firm) in zip(
        *(pieces(stretch, state) for state in states), strict=True
    ):
        near = stretch.tolerance * float((target - before).double().norm())
        near += 8 * torch.finfo(end.dtype).eps * float(target.double().norm())
        is_off = not float((end - target).double().norm()) <= near
        if name not in trained and is_off:
            return {}
        if name in trained and firm.all() and not float((without - target).double().norm()) <= near:
            off[name] = off.get(name, False) or is_off
    return off


def first_off(trajectory: Trajectory, stretch: Stretch) -> tuple[int, str] | None:
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
