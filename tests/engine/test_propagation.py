"""Sweeps against dense float64 matrices, finite differences of whole runs, and each other; over the tables."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest
import torch

from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.dynamics import DYNAMICS
from aadsl.interventions import INTERVENTIONS, counterfactual
from aadsl.propagation import CURVATURES, Point, Sweep, adjoint_sweep, final_state, inner, observed, reruns
from tests.engine.tiny import TinyRun, dense_jacobian, dense_vector, tangents_at_end, tiny_run
from tests.interventions import FIXED
from tests.optimizers import OPTIMIZERS, WITHOUT_EFFECT

EXACT = CURVATURES["exact"]()
ARGUMENTS = {"scale_lr": {"factor": 0.5}, "reweight": {"weight": 2.0}, "replace": {"data": 1}}


def stage(run: TinyRun) -> np.ndarray:
    member = np.zeros(run.length, dtype=bool)
    member[[2, 3, 5]] = True
    return member


def intervention(name: str):
    return INTERVENTIONS[name](**ARGUMENTS.get(name, {}))


def swept(run: TinyRun, jacobian, varied, curvature=EXACT) -> Sweep:
    sweep = Sweep.starting(run.length, [run.readout.cotangent(final_state(run, run.step_map))])
    for stand in adjoint_sweep(run, run.step_map, sweep, curvature, jacobian=jacobian, variations=[varied]):
        sweep = stand
    return sweep


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_the_tiny_runs_cover_the_table() -> None:
    assert set(OPTIMIZERS) == set(DYNAMICS)


@pytest.mark.parametrize(("optimizer", "name"), list(product(DYNAMICS, FIXED)))
def test_both_directions_agree_with_dense_matrices(optimizer: str, name: str) -> None:
    assert_agreement(tiny_run(optimizer), name, moves=(optimizer, name) not in WITHOUT_EFFECT)


@pytest.mark.parametrize("options", [{}, {"nesterov": True}, {"momentum": 0.0}, {"maximize": True}], ids=str)
@pytest.mark.parametrize("name", FIXED)
def test_linear_optimizers_agree_with_dense_matrices_too(options: dict, name: str) -> None:
    assert_agreement(tiny_run("SGD", dampening=0.0, **options), name)


def assert_agreement(run: TinyRun, name: str, *, moves: bool = True) -> None:
    """DESIGN's recursion with matrices from torch.func: every step's score and the whole tangent, to 1e-8."""
    varied = counterfactual(intervention(name), stage(run))
    terminal = run.readout.cotangent(run.states[-1])
    for jacobian in (observed, varied):
        matrices = [dense_jacobian(run, run.states[t], jacobian(run.steps[t])) for t in range(run.length)]
        sources = [
            dense_vector(run.states[t + 1]) - dense_vector(run.step_map(run.states[t], varied(run.steps[t])))
            for t in range(run.length)
        ]
        u, e = dense_vector(terminal), torch.zeros_like(dense_vector(terminal))
        for matrix, removed in zip(matrices, sources, strict=True):
            e = matrix @ e + removed
        scores = torch.zeros(run.length, dtype=torch.float64)
        for t in reversed(range(run.length)):
            scores[t] = u @ sources[t]
            u = matrices[t].T @ u

        sweep = swept(run, jacobian, varied)
        (tangent,) = tangents_at_end(run, EXACT, [jacobian], [varied])
        assert (float(scores.abs().max()) > 1e-6) is moves
        if not moves:
            assert not sweep.scores.any() and not dense_vector(tangent).any()
            continue
        assert relative(sweep.scores[0, :, 0], scores) <= 1e-8
        assert relative(dense_vector(tangent), e) <= 1e-8
        assert relative(dense_vector(sweep.cotangents[0]), u) <= 1e-8
        assert float(sweep.scores.sum()) == pytest.approx(float(inner(terminal, tangent)), rel=1e-10)


@pytest.mark.parametrize("clip", [Clip("norm", 0.3), Clip("value", 0.05), Clip("norm", 0.5, 3.0)], ids=str)
def test_clipping_is_differentiated_through(clip: Clip) -> None:
    run = tiny_run("SGD", clip=clip)
    varied = counterfactual(intervention("skip"), stage(run))
    if clip.norm_type == 2.0:
        u = dense_vector(run.readout.cotangent(run.states[-1]))
        for t in reversed(range(run.length)):
            u = dense_jacobian(run, run.states[t], run.steps[t]).T @ u
        assert relative(dense_vector(swept(run, observed, varied).cotangents[0]), u) <= 1e-8
    assert_finite_difference(run)


@pytest.mark.parametrize("optimizer", DYNAMICS)
@pytest.mark.parametrize("micro", [1, 3])
def test_the_cotangent_is_the_derivative_of_the_whole_training_run(optimizer: str, micro: int) -> None:
    assert_finite_difference(tiny_run(optimizer, micro=micro))


def assert_finite_difference(run: TinyRun) -> None:
    """⟨u_0, d⟩ against γ of two complete trainings from ξ_0 ± hd, micro-batches and clipping included."""
    cotangent = swept(run, observed, observed).cotangents[0].parameters
    direction = torch.randn(cotangent.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    values = []
    for h in (1e-6, -1e-6):
        state = run.states[0]._replace(parameters=run.states[0].parameters + h * direction)
        for step in run.steps:
            state = run.step_map(state, step)
        values.append(float(run.readout.values(state).mean()))
    # Along a random direction most of the product cancels, the rounding of the values does not.
    size = float(cotangent.norm() * direction.norm())
    assert float(cotangent @ direction) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-7 * size)


def test_a_planted_error_in_a_derivative_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run("SGD")
    exact = run.step_map.objective.curvature_pullback

    def planted(state, step, directions):
        return [(1.0001 * theta, buffers) for theta, buffers in exact(state, step, directions)]

    monkeypatch.setattr(run.step_map.objective, "curvature_pullback", planted)
    with pytest.raises(AssertionError):
        assert_finite_difference(run)


@pytest.mark.parametrize("optimizer", DYNAMICS)
@pytest.mark.parametrize("limit", [2, 64])
def test_sparse_states_give_exactly_the_dense_answer(optimizer: str, limit: int) -> None:
    dense, sparse = tiny_run(optimizer, length=11), tiny_run(optimizer, length=11)
    sparse.kept = (0, 3)
    varied = counterfactual(intervention("skip"), np.ones(11, dtype=bool))
    results = []
    for run in (dense, sparse):
        sweep = Sweep.starting(run.length, [run.readout.cotangent(final_state(run, run.step_map))])
        for stand in adjoint_sweep(
            run, run.step_map, sweep, EXACT, jacobian=observed, variations=[varied], limit=limit
        ):
            sweep = stand
        results.append(sweep)
    assert torch.equal(results[0].scores, results[1].scores)
    assert float(results[0].scores.abs().min()) > 0
    loaded = []
    sparse.state = lambda t, keep=sparse.state: loaded.append(t) or keep(t)  # type: ignore[method-assign]
    swept(sparse, observed, varied)
    assert set(loaded) == {0, 3}, "the sparse run must not have read other states"


@pytest.mark.parametrize(("name", "order"), [("central_difference", 2), ("one_sided_difference", 1)])
def test_differences_approach_the_exact_product_on_a_smooth_network(name: str, order: int) -> None:
    run = tiny_run("SGD")
    varied = counterfactual(intervention("skip"), stage(run))
    exact = swept(run, observed, varied).scores
    errors = []
    for radius in (0.02, 0.01):
        near = swept(run, observed, varied, CURVATURES[name](radius=radius)).scores
        errors.append(float((near - exact).norm() / exact.norm()))
    assert errors[1] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.2), "the error goes with radius to the power of order"


def test_gauss_newton_drops_only_the_curvature_of_the_network() -> None:
    """For a linear model Gauss-Newton is the Hessian; H = 0 is not."""
    model = torch.nn.Linear(3, 3).double()
    run = tiny_run("SGD", model=model, groups=1)
    varied = counterfactual(intervention("skip"), stage(run))
    exact = swept(run, observed, varied).scores
    assert relative(swept(run, observed, varied, CURVATURES["gauss_newton"]()).scores, exact) < 1e-12
    assert relative(swept(run, observed, varied, CURVATURES["zero"]()).scores, exact) > 1e-3


def test_a_sweep_continues_where_it_stood() -> None:
    run = tiny_run("Adam")
    varied = counterfactual(intervention("skip"), np.ones(run.length, dtype=bool))
    whole = swept(run, observed, varied)
    start = Sweep.starting(run.length, [run.readout.cotangent(run.states[-1])])
    for stand in adjoint_sweep(run, run.step_map, start, EXACT, jacobian=observed, variations=[varied]):
        if stand.stop == 4:
            break
    *_, resumed = adjoint_sweep(run, run.step_map, stand, EXACT, jacobian=observed, variations=[varied])
    assert torch.equal(resumed.scores, whole.scores)


def test_a_sweep_that_explodes_names_the_step() -> None:
    run = tiny_run("SGD")
    run.states[5].parameters[0] = float("nan")
    varied = counterfactual(intervention("skip"), stage(run))
    with pytest.raises(AadslError, match=r"left the finite numbers at step 5"):
        swept(run, observed, varied)


@pytest.mark.parametrize("name", FIXED)
def test_a_rerun_is_the_loop_one_would_write(name: str) -> None:
    """The exact counterfactual state against the recursion ζ_{t+1} = Ψ_t(ζ_t) from ξ_0."""
    run = tiny_run("SGD")
    varied = counterfactual(intervention(name), stage(run))
    state = run.states[0]
    for step in run.steps:
        state = run.step_map(state, varied(step))
    ((_, again, _),) = reruns(run, run.step_map, [varied], [2])
    assert torch.equal(dense_vector(again), dense_vector(state))
    assert not torch.equal(again.parameters, run.states[-1].parameters)


def test_a_parameter_without_gradient_is_left_alone_as_in_torch() -> None:
    class Partial(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    run = tiny_run("SGD", model=Partial().double(), groups=1)
    before = run.step_map.layout.named_views(run.states[0].parameters)
    after = run.step_map.layout.named_views(run.states[-1].parameters)
    assert torch.equal(before["unused.weight"], after["unused.weight"]), "weight decay must not touch it either"
    assert not torch.equal(before["used.weight"], after["used.weight"])


def test_a_counterfactual_returns_the_very_step_where_nothing_changes() -> None:
    run = tiny_run("SGD")
    varied = counterfactual(intervention("restart"), stage(run))
    assert varied(run.steps[0]) is run.steps[0]
    assert varied(run.steps[4]) == dataclasses.replace(run.steps[4], resets_optimizer=True)


def test_the_secant_of_a_small_deviation_is_the_exact_product_and_sees_kinks_of_a_large_one() -> None:
    run = tiny_run("SGD")
    objective, state, step = run.step_map.objective, run.states[2], run.steps[2]
    point = Point(state, step, objective.evaluate(state, step), run.states[3].parameters)
    e = torch.randn(state.parameters.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    results = {}
    for size in (1e-4, 1.0):
        tangent = [(size * e, state.buffers)]
        ((secant, _),) = CURVATURES["secant"]().pushforward(objective, point, tangent)
        ((exact, _),) = EXACT.pushforward(objective, point, tangent)
        results[size] = relative(secant, exact)
    assert results[1e-4] < 1e-6 < 1e-2 < results[1.0]
