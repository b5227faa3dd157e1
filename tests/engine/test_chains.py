"""Jobs with optimizers of their own, recorded and chained, against plain torch.optim loops and dense matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.dynamics import DYNAMICS
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS, counterfactual
from aadsl.propagation import (
    CURVATURES,
    Readout,
    Step,
    Sweep,
    adjoint_sweep,
    final_state,
    forward,
    inner,
    observed,
    reruns,
)
from aadsl.replayed.history import History
from tests.engine.tiny import dense_jacobian, dense_vector, log_likelihood, loss, network, tangents_at_end
from tests.interventions import FIXED
from tests.optimizers import OPTIMIZERS, class_named, torch_options

LENGTH = 4  # steps of a job
X = torch.randn(100, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randint(0, 3, (100,), generator=torch.Generator().manual_seed(2))
OTHERS = (X, (Y + 1) % 3)
BEHAVIOR = (X[:6], Y[:6])
EXACT = CURVATURES["exact"]()
ARGUMENTS = {"scale_lr": {"factor": 0.5}, "reweight": {"weight": 2.0}, "replace": {"data": OTHERS}}


@dataclass
class Job:
    """One training job: ``only`` trains parameters whose names begin so; ``frozen`` ones stay in the optimizer."""

    optimizer: str
    options: dict[str, Any] = field(default_factory=dict)
    only: str = ""
    frozen: bool = False
    clip: float | None = None

    def start(self, model: nn.Module) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
        """Return a fresh optimizer and what it trains."""
        trained = [p for n, p in model.named_parameters() if n.startswith(self.only)]
        for parameter in model.parameters():
            parameter.requires_grad_(not self.frozen or any(parameter is p for p in trained))
        given = list(model.parameters()) if self.frozen else trained
        return class_named(self.optimizer)(given, **self.options), trained


MOMENTUM = Job("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.02})
PLAIN = Job("SGD", {"lr": 0.2})
ADAM = Job("Adam", {"lr": 0.05, "eps": 1e-3, "weight_decay": 0.02})
AMSGRAD = Job("Adam", {"lr": 0.03, "betas": (0.8, 0.9), "eps": 1e-3, "amsgrad": True})
ADAMW = Job("AdamW", {"lr": 0.05, "eps": 1e-3, "weight_decay": 0.1})
RMSPROP = Job("RMSprop", {"lr": 0.02, "eps": 1e-2, "momentum": 0.5, "centered": True})
ADAGRAD = Job("Adagrad", {"lr": 0.1, "eps": 1e-2, "initial_accumulator_value": 0.1})
CLIPPED_HEAD = Job("Adam", {"lr": 0.05, "eps": 1e-3}, only="2", clip=0.05)
FROZEN_BODY = Job("AdamW", {"lr": 0.05, "eps": 1e-3, "weight_decay": 0.1}, only="2", frozen=True)
CHAINS = {
    "SGD to Adam": [MOMENTUM, ADAM],
    "AdamW to SGD": [ADAMW, PLAIN],
    "momentum on": [PLAIN, MOMENTUM],
    "momentum off": [MOMENTUM, PLAIN],
    "amsgrad on": [ADAM, AMSGRAD],
    "amsgrad off": [AMSGRAD, ADAM],
    "shared slots": [MOMENTUM, RMSPROP, ADAGRAD, ADAM],
    "Adagrad again": [ADAGRAD, ADAGRAD],
    "there and back": [MOMENTUM, ADAM, MOMENTUM],
    "clip in one job": [Job("SGD", {"lr": 0.1, "momentum": 0.9}, clip=0.1), ADAM],
    "head only": [ADAM, CLIPPED_HEAD],
    "head first": [CLIPPED_HEAD, ADAM],
    "frozen body": [ADAM, FROZEN_BODY, MOMENTUM],
}
KNOWN = {job.optimizer for jobs in CHAINS.values() for job in jobs}
CHAINS |= {
    f"{name} again": [own := Job(name, torch_options(optimizer.smooth) | optimizer.decay), own, MOMENTUM]
    for name, optimizer in OPTIMIZERS.items()
    if name not in KNOWN
}
STAGES = {"first job": [1, 2], "across": [3, 4], "first step of a job": [4], "second job": [5, 6]}


def trained(
    jobs: list[Job],
    intervention: str = "",
    stage: tuple[int, ...] | list[int] = (),
    *,
    nudge: Callable[[nn.Module], None] = lambda model: None,
    folder: Path | None = None,
) -> nn.Module:
    """Train one job after the other as anyone would write it, with the intervention at the steps of the stage."""
    model, t = network(), 0
    nudge(model)
    for number, job in enumerate(jobs):
        optimizer, parameters = job.start(model)
        recorder = None
        if folder:
            recorder = aadsl.Recorder(
                folder / str(number), model, optimizer, data=(X, Y), clip=job.clip, states=number + 1
            )
        for local in range(LENGTH):
            inside = t in stage
            t += 1
            if inside and intervention in ("skip", "restart"):
                continue
            if intervention == "restart" and t - 2 in stage:
                optimizer, parameters = job.start(model)
            indices = torch.arange(5 * t, 5 * t + 5)
            x, y = OTHERS if inside and intervention == "replace" else (X, Y)
            optimizer.zero_grad()
            loss(model, (x[indices], y[indices])).backward()
            if inside and intervention in ("zero_gradient", "reweight"):
                for parameter in parameters:
                    parameter.grad *= 0.0 if intervention == "zero_gradient" else 2.0
            if job.clip:
                nn.utils.clip_grad_norm_(parameters, job.clip)
            factor = 0.5 if inside and intervention == "scale_lr" else 1.0
            optimizer.param_groups[0]["lr"] = job.options["lr"] * (1 - 0.1 * local) * factor
            if recorder:
                recorder.batch(indices=indices)
            optimizer.step()
        if recorder:
            recorder.close()
    return model


def opened(jobs: list[Job], folder: Path) -> aadsl.Trajectory:
    trained(jobs, folder=folder)
    return aadsl.open_trajectory([folder / str(number) for number in range(len(jobs))])


def history_of(trajectory: aadsl.Trajectory) -> History:
    return History(trajectory, model=network(), loss=loss, data=(X, Y), device="cpu")


@pytest.fixture(scope="module", params=CHAINS)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Job], History]:
    jobs = CHAINS[request.param]
    return jobs, history_of(opened(jobs, tmp_path_factory.mktemp("chain")))


@pytest.fixture(scope="module")
def as_observed(chain: tuple[list[Job], History]) -> list[tuple[Step, Tensor]]:
    """Each step of a chain, and the matrix of its map at the observed state."""
    history = chain[1]
    moments = forward(history, history.step_map)
    return [(moment.step, dense_jacobian(history, moment.state, moment.step)) for moment in moments]


def behavior(model: nn.Module) -> float:
    return log_likelihood(model, BEHAVIOR).mean().item()


def parameters_of(history: History, vector: Tensor) -> dict[str, Tensor]:
    return history.objective.parameters.named_views(vector)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-300))  # to an optimizer of signs a weight may be nothing


def varied(name: str, stage: list[int], length: int) -> Any:
    member = np.isin(np.arange(length), stage)
    return counterfactual(INTERVENTIONS[name](**ARGUMENTS.get(name, {})), member)


def test_the_chains_hold_every_optimizer() -> None:
    assert {job.optimizer for jobs in CHAINS.values() for job in jobs} == set(DYNAMICS)


def test_slots_of_one_name_have_one_shape() -> None:
    shapes: dict[str, set[int]] = {}
    everything = dict.fromkeys(("momentum", "amsgrad", "centered"), True)
    for dynamics in DYNAMICS.values():
        for slot, value in dynamics.initial(torch.ones(3), everything).items():
            shapes.setdefault(slot, set()).add(value.dim())
    assert all(len(found) == 1 for found in shapes.values())


def test_the_replay_has_the_bits_of_the_jobs(chain: tuple[list[Job], History]) -> None:
    jobs, history = chain
    found = parameters_of(history, final_state(history, history.step_map).parameters)
    for name, value in trained(jobs).named_parameters():
        assert torch.equal(found[name], value), name
    report = history.trajectory.verify(model=network(), loss=loss, data=(X, Y), samples=100, device="cpu")
    assert report.ok and f"{history.length} steps" in str(report) and "every bit the same" in str(report), report


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", FIXED)
def test_retraining_is_what_plain_loops_give(chain: tuple[list[Job], History], name: str, stage: str) -> None:
    jobs, history = chain
    steps = STAGES[stage]
    ((_, again, _),) = reruns(history, history.step_map, [varied(name, steps, history.length)], [steps[0]])
    truth = trained(jobs, name, steps)
    for key, value in parameters_of(history, again.parameters).items():
        torch.testing.assert_close(value, truth.get_parameter(key).detach(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("stage", ["across", "first step of a job"])
@pytest.mark.parametrize("name", ["skip", "restart", "reweight"])
def test_both_directions_agree_with_dense_matrices(
    chain: tuple[list[Job], History], as_observed: list[tuple[Step, Tensor]], name: str, stage: str
) -> None:
    history = chain[1]
    other = varied(name, STAGES[stage], history.length)
    readout = Readout(history.objective, log_likelihood, [BEHAVIOR])
    terminal = readout.cotangent(final_state(history, history.step_map))
    moments = list(forward(history, history.step_map))
    for jacobian in (observed, other):
        u = dense_vector(terminal)
        e, scores = torch.zeros_like(u), torch.zeros(history.length, dtype=torch.float64)
        matrices = [
            matrix if (varied_step := jacobian(m.step)) == step else dense_jacobian(history, m.state, varied_step)
            for m, (step, matrix) in zip(moments, as_observed, strict=True)
        ]
        sources = [dense_vector(m.after) - dense_vector(history.step_map(m.state, other(m.step))) for m in moments]
        for matrix, source in zip(matrices, sources, strict=True):
            e = matrix @ e + source
        for t in reversed(range(history.length)):
            scores[t] = u @ sources[t]
            u = matrices[t].T @ u

        sweep = Sweep.starting(history.length, [terminal])
        for stand in adjoint_sweep(history, history.step_map, sweep, EXACT, jacobian=jacobian, variations=[other]):
            sweep = stand
        (tangent,) = tangents_at_end(history, EXACT, [jacobian], [other])
        assert relative(sweep.scores[0, :, 0], scores) <= 1e-8
        assert relative(dense_vector(sweep.cotangents[0]), u) <= 1e-8
        assert relative(dense_vector(tangent), e) <= 1e-8
        assert float(sweep.scores.sum()) == pytest.approx(float(inner(terminal, tangent)), rel=1e-10)


def test_the_cotangent_is_the_derivative_of_all_jobs_in_a_row(chain: tuple[list[Job], History]) -> None:
    """⟨u_0, d⟩ against γ of plain trainings from θ_0 ± hd: no code of ours."""
    jobs, history = chain
    readout = Readout(history.objective, log_likelihood, [BEHAVIOR])
    sweep = Sweep.starting(history.length, [readout.cotangent(final_state(history, history.step_map))])
    for stand in adjoint_sweep(history, history.step_map, sweep, EXACT, jacobian=observed, variations=[observed]):
        sweep = stand
    cotangent = parameters_of(history, sweep.cotangents[0].parameters)
    generator = torch.Generator().manual_seed(5)
    direction = {n: torch.randn(u.shape, generator=generator, dtype=torch.float64) for n, u in cotangent.items()}

    def moved(h: float) -> float:
        def nudge(model: nn.Module) -> None:
            with torch.no_grad():
                for name, value in direction.items():
                    model.get_parameter(name).add_(value, alpha=h)

        return behavior(trained(jobs, nudge=nudge))

    along = sum(float((cotangent[name] * value).sum()) for name, value in direction.items())
    assert along == pytest.approx((moved(1e-5) - moved(-1e-5)) / 2e-5, rel=1e-5)


def test_every_estimator_answers_and_retraining_is_the_truth(chain: tuple[list[Job], History]) -> None:
    jobs, history = chain
    study = aadsl.Study(history.trajectory, model=network(), loss=loss, data=(X, Y), device="cpu")
    study.behavior("likely", log_likelihood, on=BEHAVIOR)
    for name, steps in STAGES.items():
        study.stage(name.replace(" ", "_"), steps)
    stages = [name.replace(" ", "_") for name in STAGES]
    for estimator in ESTIMATORS:
        found = study.score(stages, ["likely"], estimator=estimator)
        assert np.isfinite(found.effect.values).all(), estimator
    exact = study.retrain(stages, ["likely"]).effect.values[:, 0]
    truth = [behavior(trained(jobs)) - behavior(trained(jobs, "skip", steps)) for steps in STAGES.values()]
    assert np.allclose(exact, truth, rtol=0, atol=1e-12)


def test_what_is_seen_of_a_chain(tmp_path: Path) -> None:
    trajectory = opened(CHAINS["there and back"], tmp_path)
    assert trajectory.optimizer == "SGD then Adam then SGD" and "steps of SGD then Adam then SGD" in repr(trajectory)
    assert [trajectory.optimizers(t) for t in (3, 4, 8)] == [("SGD",), ("Adam",), ("SGD",)]
    assert [phase.resets_optimizer for phase in trajectory.phases] == [True] * 3
    assert trajectory.steps["momentum"].values[[0, 11]].tolist() == [0.9, 0.9]
    assert np.isnan(trajectory.steps["momentum"].values[4:8]).all()


def test_what_a_job_does_not_train_stays_at_rest(tmp_path: Path) -> None:
    """Neither Adam's moments of a body move while only the head is trained, nor does its gradient count in a clip."""
    trajectory = opened(CHAINS["head only"], tmp_path)
    body, head = (trajectory.parameters[name].group for name in ("0.weight", "2.weight"))
    assert trajectory.optimizers(5)[body] is None and trajectory.optimizers(5)[head] == "Adam"
    assert trajectory.hyperparameters(5)[body]["lr"] == 0
    history = history_of(trajectory)
    for moment in forward(history, history.step_map, 4):
        assert not any(slot.any() for slot in moment.after.slots[body].values())
        assert all(slot.any() for slot in moment.after.slots[head].values())


SIGNED, ADAFACTOR = Job("Signed", {"lr": 0.01}), Job("Adafactor", {"lr": 0.05}, clip=0.2)
OPAQUE = {
    "Signed last": [MOMENTUM, SIGNED],
    "Signed first": [SIGNED, ADAM],
    "Signed again": [SIGNED, SIGNED],
    "one of a head": [ADAM, Job("Adafactor", {"lr": 0.05}, only="2", clip=0.2), MOMENTUM],
    "two that take their steps": [ADAFACTOR, SIGNED, PLAIN],
}


@pytest.mark.filterwarnings("ignore:of a run with")
@pytest.mark.parametrize("name", OPAQUE)
def test_optimizers_without_a_step_function_have_their_place_in_a_chain(tmp_path: Path, name: str) -> None:
    jobs = OPAQUE[name]
    history = history_of(opened(jobs, tmp_path))
    assert history.opaque == ("Signed" if SIGNED in jobs else "") and "takes its steps itself" in history.alone
    report = history.trajectory.verify(model=network(), loss=loss, data=(X, Y), samples=20, device="cpu")
    assert report.ok and "every bit the same" in str(report)
    for intervention in ("skip", "restart", "zero_gradient"):
        for stage in STAGES.values():
            (end,) = reruns(history, history.step_map, [varied(intervention, stage, history.length)], [min(stage)])
            expected = dict(trained(jobs, intervention, stage).named_parameters())
            found = parameters_of(history, end.state.parameters)
            assert all(torch.equal(value, expected[of]) for of, value in found.items()), (intervention, stage)
