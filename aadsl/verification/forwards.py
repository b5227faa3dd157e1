"""Suspicions about the forward pass: its mode, its precision, the random numbers that it draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.core.generators import NUMPY, PYTHON, left_as_they_were, reseeded, state_of
from aadsl.core.kernels import AUTOCAST
from aadsl.propagation import Step, Variation
from aadsl.trajectory import Trajectory
from aadsl.verification.stretch import Stretch

Suspicion = tuple[str, str] | None
"""A cause, and what is said of it."""

LONGEST = 40
"""Steps of a stretch that is replayed many times."""
_ALIKE = 2.0
_REPLAYS = 4  # of steps that may draw: of two, draws may be the same
_RATES = (0.0, *(percent / 100 for percent in range(5, 85, 5)))
_DTYPES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


def unrecorded_draws(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The forward draws random numbers from generators that are not recorded, so that no replay has those of the run.

    Those of Python and NumPy are seen to move; of others two replays of the same steps end differently.
    """
    step = stretch.history.step(stretch.start)
    step.batches()  # data that draw are another cause
    generators = {PYTHON: "Python's random", NUMPY: "NumPy's"}
    with left_as_they_were(generators):
        before = {name: state_of(name) for name in generators}
        stretch.history.objective.evaluate(stretch.before, step)
        drawn = [whose for name, whose in generators.items() if state_of(name) != before[name]]
    if not drawn and not _differs(stretch):
        return None
    own, known = trajectory.provenance.get("generators"), stretch.history.drawn_from
    if own and all(isinstance(one, str) for one in known):
        return "other random numbers", f"the run drew from generators of its own ({own}), and generators= is not given"
    whose = f" from {' and '.join(drawn)} generator outside of the model's forward pass, where it is not recorded"
    whose = whose if drawn else " that are not recorded, so that two replays of the same steps differ"
    return "other random numbers", f"the model or the loss draws random numbers{whose}"


def _differs(stretch: Stretch) -> bool:
    """Return whether replays without dropout, whose numbers are recorded, end about as far apart as the run does."""
    with _set(_dropouts(stretch), "p", 0.0):
        first, *others = (stretch.replay(lambda step: step) for _ in range(_REPLAYS))
    away = [d for other in others for d in stretch.distances(other, first) if isfinite(d)]
    return max(away, default=0.0) > max(stretch.tolerance, stretch.deviation / (2 * _ALIKE))


def _dropouts(stretch: Stretch) -> list[Any]:
    return [m for m in stretch.history.objective.model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]


def mode(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The model, or some modules of it, were in the other mode."""
    if mended(stretch, lambda step: replace(step, training=not step.training)):
        recorded, used = ("train", "eval") if trajectory.training(stretch.start) else ("eval", "train")
        return "other mode", f"the model was in {used} mode, although {recorded} mode was recorded"
    modules = trajectory.modules_off_mode(stretch.start)
    if modules and mended(stretch, lambda step: replace(step, off_mode=())):
        return "other mode", f"{', '.join(modules[:3])} were in the model's mode, although the other was recorded"
    return None


def mended(stretch: Stretch, varied: Variation) -> bool:
    """Return whether the stretch ends where the run did if its steps are ``varied``; not where they then fail."""
    try:
        return stretch.deviation_of(stretch.replay(varied)) <= stretch.tolerance
    except (AadslError, RuntimeError):  # a model that has no eval mode, a loss that lower precision does not know
        return False


def dropout_rate(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The dropout of the run had another rate than that of the model given: with the recorded numbers it shows."""
    layers = _dropouts(stretch)
    given = sorted({layer.p for layer in layers})
    if not layers or len(stretch) > LONGEST or not trajectory.training(stretch.start):
        return None
    for rate in _RATES:
        with _set(layers, "p", rate):
            if mended(stretch, lambda step: step):
                return "other dropout rate", (
                    f"the dropout of the run was p={rate:g}, that of the model given is p={', '.join(map(str, given))}"
                )
    return None


def autocast(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The run computed its loss, or its model alone, in lower precision."""
    objective, device = stretch.history.objective, stretch.history.device.type
    if len(stretch) > LONGEST:
        return None
    for dtype, name in _DTYPES.items():
        under: Any = torch.autocast(device, dtype)
        for what, owner, attribute in (("loss", objective, "loss"), ("model", objective.model, "forward")):
            with _set([owner], attribute, under(getattr(owner, attribute))):
                if mended(stretch, _not_lowered):
                    return "autocast", f"the run computed its {what} under torch.autocast in {name}"
    return None


def _not_lowered(step: Step) -> Step:
    return replace(step, kernels={name: position for name, position in step.kernels.items() if name != AUTOCAST})


@contextmanager
def _set(owners: list[Any], attribute: str, value: Any) -> Iterator[None]:
    """Give an attribute of the private model, or its objective, another value for a while."""
    kept = [(owner, getattr(owner, attribute), attribute in vars(owner)) for owner in owners]
    try:
        for owner, _, _ in kept:
            setattr(owner, attribute, value)
        yield
    finally:
        for owner, before, own in kept:
            setattr(owner, attribute, before) if own else delattr(owner, attribute)


def noise(trajectory: Trajectory, stretch: Stretch) -> Suspicion:
    """The model draws random numbers, and what the run drew may be one more draw.

    Then the replay is as far off as two draws are from each other (much nearer, it drew the right numbers), and draws
    move the parameters about as far as the run did.
    """
    one, other = (stretch.replay(partial(_drawn, seed)) for seed in (1, 2))
    spread, moved = max(stretch.distances(one, other)), stretch.distances(one, stretch.before)[0]
    if not (spread / _ALIKE < stretch.deviation < spread * _ALIKE and 1 / _ALIKE < moved < _ALIKE):
        return None
    if own := trajectory.provenance.get("compiled"):
        return "compiled dropout", f"the model was compiled, and {own}, which no replay has"
    recorded = stretch.history.step(stretch.start).rng_states
    known = "the recorded generator state does not" if recorded else "no generator state was recorded to"
    dropout = any(layer.p for layer in _dropouts(stretch))
    return "other dropout" if dropout else "other random numbers", (
        f"the model draws random numbers{' (dropout)' * dropout}, and {known} reproduce the run's; "
        "unless batches or a loss were others that matter as much"
    )


def _drawn(seed: int, step: Step) -> Step:
    """Return a step that draws other random numbers."""
    number = 1_000_003 * seed + step.index
    recorded = step.rng_states or ({"cpu": torch.empty(0)},)
    return replace(step, rng_states=tuple({one: reseeded(one, number) for one in own} for own in recorded))
