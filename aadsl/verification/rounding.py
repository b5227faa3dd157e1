"""Whether rounding explains that a replay ends elsewhere: it does where rounding the start leads as far.

Another number of threads, another machine or another PyTorch rounds otherwise. In most tensors that stays small. But
what the loss does not depend on (a bias before a normalization, a key's bias in attention) has a gradient of rounding
errors alone, which Adam scales to steps of full length; and where training is unstable, errors grow everywhere.

Measured on MLPs with BatchNorm, recorded with two threads and replayed with one, 18 runs with SGD and Adam in 14
stretches each: where the replay was off at all, it was by 0.4 to 1.2 times what this module foretells; with a label
smoothing of 0.02 that the run did not have, by 14 times or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from aadsl.dynamics import OWN_SCALAR
from aadsl.propagation.layout import FlatState
from aadsl.propagation.step import Step
from aadsl.verification.stretch import Stretch

SAMPLES = 3  # starts that are tried
SOON = 8  # of so many parts of a stretch the first is looked at before
FACTOR = 5.0  # how much farther than they lead rounding is believed to lead
LOOSE = 0.01  # a tensor that they move by more than so much of its way says nothing
FARTHEST = 3.0  # a replay that ends so many times farther away than the run moved was of something else


@dataclass(frozen=True)
class Rounding:
    """What rounding alone does to the end of a stretch.

    Attributes:
        explains: whether it is as much as the replay is off.
        decides: whether it is so much, in most of the state, that a replay which stays in reach says nothing.
        loose: names of the tensors of which it decides where they end.
        rest: the stretch without those, and with what rounding does to the others as its tolerance; all of it where
            those are most.
    """

    explains: bool
    decides: bool
    loose: tuple[str, ...]
    rest: Stretch


def rounding_of(stretch: Stretch) -> Rounding:
    """Replay a stretch from rounded starts, and compare each tensor's way with how far they lead it astray.

    Where rounding decides everything, an eighth of the stretch tells that already.
    """
    outcome = stretch.outcome
    if lost := _soon_astray(stretch):
        return Rounding(False, stretch.deviation < FARTHEST, lost, stretch)
    ends = [stretch.replay(_same, _rounding(seed)) for seed in range(SAMPLES)]
    off, way = (_distances(stretch, state, stretch.target) for state in (outcome, stretch.before))
    astray = [max(tried) for tried in zip(*(_distances(stretch, end, outcome) for end in ends), strict=True)]

    firm = outcome.with_tensors(torch.ones_like(tensor) for tensor in outcome.tensors())
    loose: dict[str, None] = {}
    bounded, sizes = True, {True: 0, False: 0}
    for place, (name, mask) in enumerate(pieces(stretch, firm)):
        says = astray[place] <= LOOSE * way[place]
        sizes[says] += mask.numel()
        if not says:
            mask.zero_()
            loose[name] = None
            bounded &= off[place] <= FACTOR * astray[place]
    if sizes[False] > sizes[True]:
        return Rounding(False, stretch.deviation < FARTHEST, tuple(loose), stretch)
    rest = stretch.only(firm)
    rest.tolerance = max(stretch.tolerance, FACTOR * max(max(rest.distances(end, outcome)) for end in ends))
    return Rounding(bounded and rest.fits, False, tuple(loose), rest)


def _soon_astray(stretch: Stretch) -> tuple[str, ...]:
    """Return the tensors that rounding has led astray after a few steps, by their share of the way to the end.

    Nothing where those are not most of the state.
    """
    limits = [LOOSE * way for way in _distances(stretch, stretch.outcome, stretch.before)]
    sizes = [piece.numel() for _, piece in pieces(stretch, stretch.before)]
    names = [name for name, _ in pieces(stretch, stretch.before)]
    walks = zip(stretch.walk(_same), stretch.walk(_same, _rounding(0)), strict=True)
    for done, (state, other) in enumerate(islice(walks, len(stretch) // SOON), 1):
        if done & (done - 1):
            continue  # looked at after 1, 2, 4, 8 … steps
        off = _distances(stretch, state, other)
        loose = [place for place, distance in enumerate(off) if not distance <= limits[place]]
        if 2 * sum(sizes[place] for place in loose) > sum(sizes):
            return tuple(names[place] for place in loose)
    return ()


def _same(step: Step) -> Step:
    return step


def pieces(stretch: Stretch, state: FlatState) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the value of each tensor of a state that is compared."""
    layouts = stretch.history.objective
    yield from layouts.parameters.named_views(state.parameters).items()
    yield from layouts.buffers.named_views(state.buffers).items()
    for group, slots in enumerate(state.slots):
        if group in stretch.restarts:
            continue
        names, own = layouts.parameters.group_names(group), layouts.parameters.group_slices[group]
        for slot, value in slots.items():
            if value.dim() and value.numel() == own.stop - own.start:
                yield from zip(names, layouts.parameters.group_views(group, value), strict=True)
            elif value.dim() and not slot.startswith(OWN_SCALAR):  # what an optimizer keeps in a shape of its own
                yield slot, value


def _rounding(seed: int) -> Callable[[FlatState], FlatState]:
    """Return what moves the parameters of a state by up to a unit in the last place."""
    generator = torch.Generator().manual_seed(seed)

    def moved(state: FlatState) -> FlatState:
        noise = torch.rand(state.parameters.shape, generator=generator).to(state.parameters) * 2 - 1
        return state._replace(parameters=state.parameters * (1 + torch.finfo(noise.dtype).eps * noise))

    return moved


def _distances(stretch: Stretch, one: FlatState, other: FlatState) -> list[float]:
    pairs = zip(pieces(stretch, one), pieces(stretch, other), strict=True)
    return [float((a.double() - b.double()).norm()) for (_, a), (_, b) in pairs]
