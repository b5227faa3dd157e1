"""The block source against dense matrices, the linearized estimate and plain loops; the quadratic reading."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.dynamics import DYNAMICS
from aadsl.estimators import Behavior, Blocks, Linearized
from aadsl.estimators import blocks as blocks_module
from aadsl.estimators.blocks import blocks_of
from aadsl.interventions import Intervention
from aadsl.propagation import CURVATURES, Block, BlockSweep, block_sweep, forward, observed, portions
from tests.engine.studies import digits_study, reopened
from tests.engine.test_checkpoints import interrupt, progress_ending
from tests.engine.tiny import TinyRun, dense_jacobian, dense_vector, tiny_run
from tests.engine.tiny_studies import answer, asked, normalized, recorded
from tests.interventions import FIXED
from tests.optimizers import WITHOUT_EFFECT

EXACT = CURVATURES["exact"]()
FAMILIES = [[2, 3], [2, 3, 5], [0, 1, 2], [4, 5, 6, 7], [3], [7], [0, 1, 2, 3, 4, 5, 6, 7], [1, 3, 5]]


def swept(run: TinyRun, blocks: list[Block]) -> BlockSweep:
    start = BlockSweep.starting(run.length, [run.readout.cotangent(run.states[-1])], len(blocks))
    *_, last = block_sweep(run, run.step_map, start, EXACT, blocks)
    return last


@pytest.mark.parametrize(("optimizer", "name"), list(product(DYNAMICS, FIXED)))
def test_products_are_those_of_dense_matrices_with_deviations_of_plain_loops(optimizer: str, name: str) -> None:
    run = tiny_run(optimizer)
    query = asked(run, FAMILIES, name)
    blocks, owned = blocks_of(run, query)
    products = owned @ swept(run, blocks).products.numpy()[:, 0]
    cotangents = dense_cotangents(run)
    for member, found in zip(query.members, products, strict=True):
        assert found == pytest.approx(dense_effect(run, query.intervention, member, cotangents), rel=1e-8, abs=1e-13)
    many = (np.abs(products) > 1e-7).mean() > 0.7  # a weighted gradient may be nothing to an optimizer of signs
    assert bool(many) is ((optimizer, name) not in WITHOUT_EFFECT)


def dense_cotangents(run: TinyRun) -> list[Tensor]:
    """Return M_tᵀ … M_{T−1}ᵀ ∇γ for t = 0 … T."""
    cotangents = [dense_vector(run.readout.cotangent(run.states[-1]))]
    for t in reversed(range(run.length)):
        cotangents.insert(0, dense_jacobian(run, run.states[t], run.steps[t]).T @ cotangents[0])
    return cotangents


def dense_effect(run: TinyRun, change: Intervention, member: np.ndarray, cotangents: list[Tensor]) -> float:
    """Return Σ_blocks ⟨M_bᵀ … M_{T−1}ᵀ ∇γ, ξ_b − ζ_b⟩, ζ run step by step from where a block begins."""
    effect, t = 0.0, 0
    while t < run.length:
        if not member[t]:
            t += 1
            continue
        other = run.states[t]
        while t < run.length and member[t]:
            other = run.step_map(other, change.vary(run.steps[t]))
            t += 1
        if change.resets_after and t < run.length:
            fresh = [
                {n: run.states[0].slots[g].get(n, torch.zeros_like(v)) for n, v in own.items()}
                for g, own in enumerate(other.slots)
            ]
            varied = run.steps[t]
            while True:  # the step that starts afresh; where the stage goes on right after it, the block does too
                other = run.step_map(other._replace(slots=tuple(fresh)), varied)
                t += 1
                while t < run.length and member[t]:
                    other = run.step_map(other, change.vary(run.steps[t]))
                    t += 1
                if t == run.length or not member[t - 1]:
                    break
                varied = run.steps[t]
        effect += float(cotangents[t] @ (dense_vector(run.states[t]) - dense_vector(other)))
    return effect


@pytest.mark.parametrize("optimizer", DYNAMICS)
def test_one_skipped_block_is_the_linearized_estimate(tmp_path: Path, optimizer: str) -> None:
    study = recorded(tmp_path / "run", optimizer)
    stages = [[2, 3], [0, 1, 2, 3, 4], [6, 7], [5]]
    found = answer(study, Blocks(read="linear", curvature=EXACT), stages)
    expected = answer(study, Linearized(read="linear", curvature=EXACT), stages)
    assert found.effect == pytest.approx(expected.effect, rel=1e-10, abs=1e-14)
    history = study.history
    states = [taken.state.parameters.clone() for taken in forward(history, history.step_map)]
    states.append(history.final.parameters)
    sizes = [float((states[stage[-1] + 1] - states[stage[0]]).norm()) for stage in stages]
    assert found.size == pytest.approx(np.array(sizes), rel=1e-10)
    assert found.disagreement is None and found.growth is not None and found.curvature == "exact()"


def test_running_statistics_are_part_of_the_deviation(tmp_path: Path) -> None:
    study, stages = recorded(tmp_path / "run", model=normalized()), [[2, 3], [5]]
    assert study.history.objective.buffers.size
    found = answer(study, Blocks(read="linear", curvature=EXACT), stages)
    expected = answer(study, Linearized(read="linear", curvature=EXACT), stages)
    assert found.effect == pytest.approx(expected.effect, rel=1e-10)


class SquaredDistance:
    """−‖model(x) − y‖² of each example: quadratic in a linear model."""

    differentiable, higher_is_better, unit = True, True, ""

    def __call__(self, model: nn.Module, examples: tuple[Tensor, Tensor]) -> Tensor:
        return -(model(examples[0]) - nn.functional.one_hot(examples[1], 3)).pow(2).sum(dim=1)


def test_the_quadratic_reading_is_exact_for_a_quadratic_behavior(tmp_path: Path) -> None:
    torch.manual_seed(2)
    study = recorded(tmp_path / "run", model=nn.Linear(3, 3).double())
    study.behaviors["distance"] = Behavior("distance", SquaredDistance(), study.behaviors["likelihood"].examples)
    stages = [[2, 3], [0, 1, 2, 3, 4], [6, 7]]
    found = answer(study, Blocks(rank=20, curvature=EXACT), stages)
    expected = answer(study, Linearized(curvature=EXACT), stages)
    assert found.effect[:, 1] == pytest.approx(expected.effect[:, 1], rel=1e-10)
    assert found.disagreement[:, 1] == pytest.approx(expected.disagreement[:, 1], rel=1e-8)
    assert found.disagreement[:, 1].min() > 1e-3, "the linear reading must differ"
    assert np.abs(found.effect[:, 0] - expected.effect[:, 0]).max() > 1e-8, "the log-likelihood is not quadratic"


@pytest.mark.parametrize("read", ["linear", "quadratic"])
def test_single_examples_are_those_of_the_linearized_estimate(tmp_path: Path, read: str) -> None:
    study, stages = recorded(tmp_path / "run"), [[2, 3], [1, 4]]
    likelihood = study.behaviors["likelihood"]
    study.behaviors["likelihood"] = Behavior(likelihood.name, likelihood.metric, likelihood.examples, per_example=True)
    found = answer(study, Blocks(read=read, curvature=EXACT), stages)
    expected = answer(study, Linearized("linear" if read == "linear" else "plug_in", EXACT), stages)
    assert np.array_equal(found.example_effects[0], expected.example_effects[0])


def test_only_what_chosen_parameters_carry_is_read(tmp_path: Path) -> None:
    study, stages = recorded(tmp_path / "run"), [[2, 3], [6, 7]]
    parts = [
        answer(study, method, stages).effect
        for method in (
            Blocks(read="linear", curvature=EXACT, parameters="2.*"),
            Linearized(read="linear", curvature=EXACT, parameters="2.*"),
            Blocks(read="linear", curvature=EXACT),
        )
    ]
    assert np.isfinite(answer(study, Blocks(rank=30, parameters="2.*"), stages).effect).all()
    assert np.abs(parts[0] - parts[2]).max() > 1e-6
    assert parts[0] == pytest.approx(parts[1], rel=1e-10)


def test_many_windows_take_one_sweep_and_prefixes_as_many_as_memory_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, sweeps = recorded(tmp_path / "run"), []
    original = blocks_module.block_sweep
    monkeypatch.setattr(blocks_module, "block_sweep", lambda *a, **b: sweeps.append(len(a[4])) or original(*a, **b))
    windows, prefixes = [[a, a + 1, a + 2] for a in range(6)], [list(range(b)) for b in range(1, 9)]
    method = Blocks(rank=2)
    answer(study, method, windows)
    whole = answer(study, method, prefixes)
    assert sweeps == [6, 8]
    query = asked(study.history, prefixes, "skip", *study.behaviors.values())
    cost = method.cost(study.history, query)
    assert cost.products == 8 * 3
    monkeypatch.setattr(blocks_module, "HELD_BYTES", 3 * 4 * study.history.final.nbytes)
    again = answer(study, method, prefixes)
    assert sweeps[2:] == [3, 3, 2], "three ends may be open at once"
    assert method.cost(study.history, query).products == 3 * cost.products
    assert np.array_equal(whole.effect, again.effect)


def test_portions_hold_every_block_once_and_never_too_many_open_ends() -> None:
    generator = np.random.default_rng(3)
    for most in (1, 2, 5):
        bounds = np.sort(generator.integers(0, 30, (40, 2)), axis=1)
        blocks = [Block(int(a), int(b) + 1, observed) for a, b in bounds]
        parts = portions(blocks, most)
        assert sorted(n for part in parts for n in part) == list(range(40))
        for part, t in product(parts, range(30)):
            ends = {blocks[n].stop for n in part if blocks[n].start <= t < blocks[n].stop}
            assert len(ends) <= most


@pytest.mark.parametrize("anew", [False, True])
def test_an_interrupted_sweep_goes_on_with_its_open_blocks(tmp_path: Path, anew: bool) -> None:
    def effects(study: aadsl.Study, progress=None):
        study.stage("long", slice(1, 27))
        study.stage("late", slice(20, 25))
        return study.score(["long", "early", "late"], ["digits"], estimator=Blocks(rank=2), progress=progress).effect

    whole = effects(digits_study(tmp_path / "whole", lr=0.01))
    study, before, after = digits_study(tmp_path / "run", lr=0.01), [], []
    with pytest.raises(KeyboardInterrupt):
        effects(study, progress_ending(before, 12, interrupt))
    study = reopened(tmp_path / "run") if anew else study
    result = effects(study, progress_ending(after, -1, interrupt))
    assert before[-1] - 1 <= after[0] <= before[-1], "the second sweep must not start over, and not skip anything"
    assert np.array_equal(result, whole)
    assert not list(Path(f"{tmp_path / 'run'}.effects").glob("sweep-*"))


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(AadslError, match="rank"):
        Blocks(rank=0)
    with pytest.raises(AadslError, match="cubic"):
        Blocks(read="cubic")
