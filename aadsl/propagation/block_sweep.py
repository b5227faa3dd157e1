"""The block sweep: effects of contiguous blocks of steps, whose deviation is known exactly where they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aadsl.core.progress import Progress, silent
from aadsl.propagation.curvature import Curvature
from aadsl.propagation.finite import NotFiniteError
from aadsl.propagation.layout import FlatState, alike, difference, inner
from aadsl.propagation.replay import Variation, backward
from aadsl.propagation.step import Run
from aadsl.propagation.step_map import StepMap


class Block(NamedTuple):
    """Steps ``start`` … ``stop`` − 1, instead of which others happen: Ψ_t = ``varied`` (Φ_t)."""

    start: int
    stop: int
    varied: Variation


class BlockSweep(NamedTuple):
    """Where a block sweep stands before it treats step ``stop`` − 1, and in the end its result.

    Attributes:
        stop: steps ``stop`` … T − 1 are done.
        cotangents: u_stop, C of them.
        products: (N, C) ⟨u_b, E_b⟩ of the blocks that begin at ``stop`` or later, else zero; float64.
        sizes: (N,) ‖E_b‖ over the parameters for these blocks, else zero; float64.
        growth: (T, C) ‖u_t‖ of the done steps, zero elsewhere; float64.
        ends: (O,) the ends b of the open blocks: those that the sweep has passed, and a beginning of theirs not.
        held: for each open end ξ_b and the C cotangents u_b, one after the other.
    """

    stop: int
    cotangents: tuple[FlatState, ...]
    products: Tensor
    sizes: Tensor
    growth: Tensor
    ends: Tensor
    held: tuple[FlatState, ...]

    @classmethod
    def starting(cls, length: int, cotangents: Sequence[FlatState], blocks: int) -> BlockSweep:
        """Return the sweep at its start, u_T as given."""
        count, double = len(cotangents), torch.float64
        return cls(
            length,
            tuple(cotangents),
            products=torch.zeros(blocks, count, dtype=double),
            sizes=torch.zeros(blocks, dtype=double),
            growth=torch.zeros(length, count, dtype=double),
            ends=torch.zeros(0, dtype=torch.int64),
            held=(),
        )

    def follows(self, start: BlockSweep, length: int) -> bool:
        """Return whether a sweep over ``length`` steps that began at ``start`` can stand here."""
        count, ends = len(start.cotangents), set(self.ends.tolist())
        return (
            0 <= self.stop <= start.stop <= length
            and len(self.cotangents) == count
            and None not in (*self.cotangents, *self.held)
            and all(alike(own, other) for own, other in zip(self[2:5], start[2:5], strict=True))
            and ends <= set(range(self.stop + 1, start.stop + 1))
            and len(self.held) == (1 + count) * len(ends) == (1 + count) * self.ends.numel()
        )


def block_sweep(
    run: Run,
    step_map: StepMap,
    sweep: BlockSweep,
    curvature: Curvature,
    blocks: Sequence[Block],
    *,
    limit: int = 64,
    progress: Progress = silent,
) -> Iterator[BlockSweep]:
    """Yield the sweep after every step, from T − 1 down to the first one of the blocks.

    For a block [a, b):   E_b = ξ_b − Ψ_{b−1} ∘ … ∘ Ψ_a (ξ_a);   its effect is ⟨u_b, E_b⟩, with u_t = DΦ_tᵀ u_{t+1}.

    ⟨u_b, ξ_b⟩ and ⟨u_b, ζ_b⟩ are large and almost the same, so ξ_b and u_b are held until the sweep reaches a. Blocks
    with the same end share them.

    Args:
        run: the observed run.
        step_map: how a step changes the state, and its derivative.
        sweep: where to begin: :meth:`BlockSweep.starting`, or where an interrupted sweep stood.
        curvature: how Hessian-vector products are computed.
        blocks: the N blocks; a step of theirs that is applied costs one gradient.
        limit: how many states of the observed run may be held at a time.
        progress: called after each step.

    Raises:
        NotFiniteError: a product or a cotangent is not finite; the message says at which step.
    """
    begun, count, step = reaches(blocks), len(sweep.cotangents), cache(run.step)
    first = min(begun.values())
    products, sizes, growth = sweep.products.numpy(), sweep.sizes.numpy(), sweep.growth.numpy()
    held = {int(b): sweep.held[i * (1 + count) : (i + 1) * (1 + count)] for i, b in enumerate(sweep.ends)}
    for taken in backward(run, step_map, first, sweep.stop, limit, progress):
        t = taken.step.index
        if t + 1 in begun:
            held[t + 1] = (taken.after.clone(), *sweep.cotangents)
        beginning = [n for n, block in enumerate(blocks) if block.start == t]
        found, norms = [], []
        for block in (blocks[n] for n in beginning):
            other, (after, *cotangents) = taken.state, held[block.stop]
            for inside in range(t, block.stop):
                other = step_map(other, block.varied(step(inside)))
            deviation = difference(after, other)
            found += [inner(u, deviation) for u in cotangents]
            norms.append(deviation.parameters.norm().double())
        pulled = tuple(step_map.pullback(taken.here, sweep.cotangents, curvature))
        lengths = [u.parameters.norm().double() for u in pulled]
        # One transfer a step: on a GPU each waits for all that is under way.
        numbers = torch.stack([*found, *norms, *lengths]).cpu().numpy()
        if not np.isfinite(numbers).all():
            raise NotFiniteError(t, run.length)
        products[beginning] = numbers[: len(found)].reshape(-1, count)
        sizes[beginning], growth[t] = numbers[len(found) : -count], numbers[-count:]
        held = {b: states for b, states in held.items() if begun[b] < t}
        open_states = tuple(state for states in held.values() for state in states)
        ends = torch.tensor(list(held), dtype=torch.int64)
        sweep = BlockSweep(t, pulled, sweep.products, sweep.sizes, sweep.growth, ends, open_states)
        progress("sweep", run.length - t, run.length - first)
        yield sweep


def reaches(blocks: Sequence[Block]) -> dict[int, int]:
    """Return for each end the earliest beginning of the blocks that end there: between the two it is open."""
    found: dict[int, int] = {}
    for block in blocks:
        found[block.stop] = min(block.start, found.get(block.stop, block.start))
    return found


def portions(blocks: Sequence[Block], most: int) -> list[list[int]]:
    """Return positions of ``blocks`` in as few portions as keep the open ends of each at ``most``."""
    begun = reaches(blocks)
    shelves: list[list[int]] = []
    for end in sorted(begun, reverse=True):
        # An end that was passed is open here where it has a block that reaches beyond.
        roomy = (ends for ends in shelves if sum(begun[other] < end for other in ends) < most)
        shelf = next(roomy, None)
        if shelf is None:
            shelves.append(shelf := [])
        shelf.append(end)
    return [[n for n, block in enumerate(blocks) if block.stop in ends] for ends in map(set, shelves)]
