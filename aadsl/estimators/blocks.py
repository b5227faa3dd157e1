"""Blocks: the deviation right after each block of a stage computed exactly, and carried on by an adjoint sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress
from aadsl.estimators.base import Cost, Effects, Estimator, Floats, Query, final_readouts, final_tangents, relative
from aadsl.estimators.defaults import candidates_for, curvature_for, finite_sweep, restricted
from aadsl.interventions import Intervention, counterfactual
from aadsl.propagation import (
    Block,
    BlockSweep,
    Curvature,
    FlatState,
    Readout,
    block_sweep,
    difference,
    eigenpairs,
    lanczos_products,
    portions,
)
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History

Reading = Literal["quadratic", "linear"]

HELD_BYTES = 1 << 30
"""What the states and cotangents of open blocks may take; where it is not enough, the blocks are swept in portions."""


@checked
@dataclass(frozen=True)
class Blocks(Estimator):
    """The block source: exact through each contiguous block of a stage, linear after it; adjoint sweeps alone.

    A block is a stretch of steps that happen differently. For [a, b) the deviation E_b = ξ_b − ζ_b is computed exactly,
    ζ run from ξ_a; the observed propagator carries it to the end. A stage that is one skipped block is answered as by
    ``linearized``, and any number of windows or phases by one sweep.

    Attributes:
        read: how a behavior is read off: ``"linear"`` ⟨u, E⟩, or ``"quadratic"`` ⟨u, E⟩ − ½ Σ_j λ_j ⟨u_j, E⟩² with the
            largest eigenpairs (λ_j, v_j) of its second derivative at ξ_T, v_j swept to u_j as ∇γ is to u.
        rank: how many eigenpairs.
        curvature: how Hessian-vector products are computed; by default chosen for the model.
        parameters: only what reaches the behavior through parameters of this name pattern, such as ``"head.*"``.
    """

    read: Reading = "quadratic"
    rank: int = 8
    curvature: Curvature | None = None
    parameters: str | None = None

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = True
    additive: ClassVar[bool | None] = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise AadslError(f"rank must be at least 1, not {self.rank}", hint='for no eigenpair: read="linear"')

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return the effect of each stage, the products ⟨u, E⟩ of its blocks added up first."""
        state, readouts = final_readouts(history, query.behaviors)
        slopes = [restricted(history, readout.cotangent(state), self.parameters) for readout in readouts]
        bends = [self._bend(history, state, readout) for readout in readouts]
        cotangents = [history.placed(u) for u in (*slopes, *(v for bend in bends for v in bend.vectors))]
        blocks, owned = blocks_of(history, query)

        def sweep(curvature: Curvature, execution: Execution) -> tuple[Swept, dict[int, Floats]]:
            swept = _swept(history, cotangents, blocks, curvature, execution)
            return swept, self._example_effects(history, query, curvature, execution)

        candidates = candidates_for(history, self.curvature)
        (swept, examples), curvature = finite_sweep(history, candidates, self.parameters, execution, sweep)
        count, along = len(readouts), owned @ swept.products
        linear, rest = along[:, :count], iter(along[:, count:].T)
        size = np.sqrt(owned @ swept.sizes**2)
        effects = Effects(linear, examples, growth=swept.growth[:count], size=size, curvature=curvature)
        if self.read == "quadratic":
            bent = [sum((value * next(rest) ** 2 for value in bend.values), np.zeros(len(linear))) for bend in bends]
            effects.effect = linear - 0.5 * np.stack(bent, axis=1)
            effects.disagreement = relative(linear, effects.effect)
        for k, values in examples.items():
            effects.effect[:, k] = values.mean(axis=1)
        return effects

    def products(self, history: History) -> Curvature:
        """Return how Hessian-vector products are computed on this run."""
        return curvature_for(history, self.curvature, self.parameters)

    def cost(self, history: History, query: Query) -> Cost:
        """Return replay and Hessian-vector products of the sweeps, the steps that blocks replay, and Lanczos."""
        blocks, _ = blocks_of(history, query)
        rank = self.rank if self.read == "quadratic" else 0
        cotangents, reach = len(query.behaviors) * (1 + rank), history.length - min(block.start for block in blocks)
        sweeps = len(portions(blocks, _most(history, cotangents)))
        products = sweeps * cotangents * reach
        replayed = len(blocks) * query.intervention.resets_after
        if query.intervention.vary(history.step(0)).applied:
            replayed = sum(block.stop - block.start for block in blocks)
        batch = sum(history.trajectory.micro_batch_sizes(0))
        gradients = sweeps * history.length + 2.0 * products + replayed
        if rank:
            gradients += 2.0 * lanczos_products(rank) * sum(len(b.examples) for b in query.behaviors) / batch
        if any(behavior.per_example for behavior in query.behaviors):
            products += len(query.members) * reach
            gradients += reach + 2.0 * len(query.members) * reach
        return Cost(gradients, products, "adjoint")

    def _bend(self, history: History, state: FlatState, readout: Readout) -> Bend:
        """Return the largest eigenpairs of ∇²γ at ξ_T; none for the linear reading."""
        if self.read == "linear":
            return Bend(np.zeros(0), [])
        chosen = None if self.parameters is None else history.chosen(self.parameters)
        values, vectors = eigenpairs(readout, state, self.rank, chosen)
        return Bend(values.numpy(), vectors)

    def _example_effects(
        self, history: History, query: Query, curvature: Curvature, execution: Execution
    ) -> dict[int, Floats]:
        """Return the effects of each example where they are asked for, read off tangents as ``linearized`` does."""
        wanted = [k for k, behavior in enumerate(query.behaviors) if behavior.per_example]
        if not wanted:
            return {}
        state, readouts = final_readouts(history, query.behaviors)
        varied = [counterfactual(query.intervention, member) for member in query.members]
        tangents = final_tangents(history, query, curvature, varied, execution)
        tangents = [restricted(history, e, self.parameters) for e in tangents]
        if self.read == "linear":
            return {k: readouts[k].along(state, tangents).cpu().numpy() for k in wanted}
        moved = [difference(state, e) for e in tangents]
        seen = {k: readouts[k].values(state) for k in wanted}
        return {k: np.stack([(seen[k] - readouts[k].values(m)).cpu().numpy() for m in moved]) for k in wanted}


class Bend(NamedTuple):
    """Eigenpairs of a behavior's second derivative."""

    values: Floats
    vectors: list[FlatState]


class Swept(NamedTuple):
    """What sweeps find: (N, C) products of blocks with cotangents, (N,) ‖E_b‖, (C,) how many-fold cotangents grew."""

    products: Floats
    sizes: Floats
    growth: Floats


def blocks_of(history: History, query: Query) -> tuple[list[Block], Floats]:
    """Return the blocks of all stages, each once, and (S, N) ones where a block is part of a stage.

    A block is a maximal stretch of steps that happen differently. Where the intervention resets the optimizer after the
    stage, the step before which that happens is one of them: it is replayed too, since an optimizer reacts to lost
    moments in no linear way.
    """
    numbers: dict[tuple[int, bytes], int] = {}
    blocks: list[Block] = []
    members: list[list[int]] = []
    for member in query.members:
        varied, own = counterfactual(query.intervention, member), []
        for start, stop in _stretches(_changed(history, query.intervention, member)):
            key = start, member[start:stop].tobytes()
            if key not in numbers:
                numbers[key] = len(blocks)
                blocks.append(Block(start, stop, varied))
            own.append(numbers[key])
        members.append(own)
    owned = np.zeros((len(members), len(blocks)))
    for row, own in zip(owned, members, strict=True):
        row[own] = 1.0
    return blocks, owned


def _changed(history: History, intervention: Intervention, member: NDArray[np.bool_]) -> list[int]:
    """Return the steps that happen differently: those of the stage, and where it is followed by a reset."""
    after = np.zeros_like(member)
    if intervention.resets_after:
        after[1:] = member[:-1] & ~member[1:]
        for t in np.flatnonzero(after):
            after[t] = not history.step(int(t)).resets_optimizer
    return [int(t) for t in np.flatnonzero(member | after)]


def _stretches(steps: list[int]) -> list[tuple[int, int]]:
    """Return (start, stop) of each stretch of consecutive steps."""
    runs = [list(run) for _, run in groupby(enumerate(steps), key=lambda pair: pair[1] - pair[0])]
    return [(run[0][1], run[-1][1] + 1) for run in runs]


def _most(history: History, cotangents: int) -> int:
    """Return how many ends of blocks may be open at once: each holds a state and the cotangents there."""
    return max(1, HELD_BYTES // ((1 + cotangents) * history.final.nbytes))


def _swept(
    history: History, cotangents: Sequence[FlatState], blocks: list[Block], curvature: Curvature, execution: Execution
) -> Swept:
    """Return the products of all blocks, in portions where memory wants it; interrupted sweeps go on."""
    found = Swept(np.zeros((len(blocks), len(cotangents))), np.zeros(len(blocks)), np.zeros(len(cotangents)))
    parts = portions(blocks, _most(history, len(cotangents)))
    for number, part in enumerate(parts):
        checkpoints, own = execution.checkpoints.within(str(number)), [blocks[n] for n in part]
        fresh = BlockSweep.starting(history.length, cotangents, len(own))
        start = sweep = checkpoints.found(fresh, history.state(0), history.length) or fresh
        progress = _part(execution.progress, number, len(parts))
        for sweep in block_sweep(
            history, history.step_map, start, curvature, own, limit=history.limit, progress=progress
        ):
            checkpoints.keep(sweep)
        found.products[part], found.sizes[part] = sweep.products.numpy(), sweep.sizes.numpy()
        grown = (sweep.growth.max(dim=0).values / sweep.growth[-1]).numpy()
        np.maximum(found.growth, grown, out=found.growth)
    return found


def _part(progress: Progress, position: int, parts: int) -> Progress:
    def report(what: str, done: int, total: int) -> None:
        progress(what, position * total + done, parts * total)

    return report
