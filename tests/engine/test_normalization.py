"""BatchNorm: buffers are part of the state, and effects travel through the running statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from aadsl.interventions import INTERVENTIONS, counterfactual
from aadsl.propagation import CURVATURES, FlatState, Sweep, adjoint_sweep, difference, inner, observed, reruns
from tests.engine.tiny import TinyRun, tangents_at_end, tiny_run

EXACT = CURVATURES["exact"]()


def normalized(momentum: float | None = 0.3) -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=momentum), nn.Tanh(), nn.Linear(4, 3)).double()


def skipping(run: TinyRun, steps: list[int]):
    member = np.zeros(run.length, dtype=bool)
    member[steps] = True
    return counterfactual(INTERVENTIONS["skip"](), member)


def pulled(run: TinyRun, curvature, terminal: FlatState, varied) -> Sweep:
    *_, sweep = adjoint_sweep(
        run, run.step_map, Sweep.starting(run.length, [terminal]), curvature, jacobian=observed, variations=[varied]
    )
    return sweep


def test_replay_restores_the_buffers_after_every_step() -> None:
    run = tiny_run("SGD", model=normalized(), groups=1)
    model = normalized()
    for t, step in enumerate(run.steps):
        for p, v in zip(model.parameters(), run.step_map.layout.views(run.states[t].parameters), strict=True):
            p.data.copy_(v)
        (batch,) = step.batches()
        model.train()(batch[0])
        kept = run.step_map.objective.buffers.named_views(run.states[t + 1].buffers)
        assert torch.equal(kept["1.running_mean"], model[1].running_mean)
        assert torch.equal(kept["1.running_var"], model[1].running_var)
    assert int(run.states[-1].integers[0]) == run.length


@pytest.mark.parametrize("momentum", [0.3, None, 0.0], ids=["exponential", "cumulative", "frozen"])
@pytest.mark.parametrize("part", ["parameters", "buffers"])
def test_the_cotangent_is_the_derivative_of_training_and_evaluation(momentum: float | None, part: str) -> None:
    """⟨u_0, d⟩ against two complete trainings from ξ_0 ± hd, read in eval mode from the running statistics."""
    run = tiny_run("SGD", model=normalized(momentum), groups=1)
    start = pulled(run, EXACT, run.readout.cotangent(run.states[-1]), observed).cotangents[0]
    base = getattr(run.states[0], part)
    direction = torch.randn(base.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values = []
    for h in (1e-5, -1e-5):
        state = run.states[0]._replace(**{part: base + h * direction})
        for step in run.steps:
            state = run.step_map(state, step)
        values.append(float(run.readout.values(state).mean()))
    expected = (values[0] - values[1]) / 2e-5
    assert float(getattr(start, part) @ direction) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["exact", "central_difference", "one_sided_difference"])
def test_adjoint_and_tangent_agree(name: str) -> None:
    options = {} if name == "exact" else {"radius": 1e-5}
    curvature = CURVATURES[name](**options)
    run = tiny_run("SGD", model=normalized(), groups=1)
    varied, terminal = skipping(run, [2, 5]), run.readout.cotangent(run.states[-1])
    (tangent,) = tangents_at_end(run, curvature, [observed], [varied])
    sweep = pulled(run, curvature, terminal, varied)
    tolerance = 1e-10 if name == "exact" else 1e-4
    assert float(sweep.scores.sum()) == pytest.approx(float(inner(terminal, tangent)), rel=tolerance)


def test_statistics_carry_a_part_of_the_effect_that_parameters_alone_miss() -> None:
    """Measured against true skips: with the statistics the error is several times smaller than without."""
    run = tiny_run("SGD", model=normalized(), groups=1, schedule=lambda _: 0.02)
    terminal = run.readout.cotangent(run.states[-1])
    blind = terminal._replace(buffers=torch.zeros_like(terminal.buffers))
    errors = {"with": [], "without": []}
    for t in range(run.length - 1):
        varied = skipping(run, [t])
        ((_, other, _),) = reruns(run, run.step_map, [varied], [t])
        truth = float(run.readout.values(run.states[-1]).mean() - run.readout.values(other).mean())
        (tangent,) = tangents_at_end(run, EXACT, [observed], [varied])
        errors["with"].append(float(inner(terminal, tangent)) - truth)
        errors["without"].append(float(inner(blind, tangent)) - truth)
        exact = difference(run.states[-1], other)
        assert float((tangent.buffers - exact.buffers).norm()) < 0.3 * float(exact.buffers.norm())
    assert np.linalg.norm(errors["with"]) < 0.5 * np.linalg.norm(errors["without"])
