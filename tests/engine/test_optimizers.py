"""Runs of several optimizers, recorded together and chained with runs of one, against plain torch.optim loops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import aadsl
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS, counterfactual
from aadsl.propagation import Variation, ensemble, final_state, reruns
from aadsl.replayed.history import History
from tests.engine.tiny import log_likelihood, loss, network
from tests.interventions import FIXED
from tests.optimizers import class_named

X = torch.randn(120, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randint(0, 3, (120,), generator=torch.Generator().manual_seed(2))
OTHERS = (X, (Y + 1) % 3)
BEHAVIOR = (X[:6], Y[:6])
LENGTH = 8  # steps of a job
ARGUMENTS = {"scale_lr": {"factor": 0.5}, "reweight": {"weight": 2.0}, "replace": {"data": OTHERS}}


@dataclass(frozen=True)
class Part:
    """An optimizer of some parameters, those whose names begin with ``of``: it steps every ``every``-th time."""

    optimizer: str
    options: tuple[tuple[str, Any], ...]
    of: str = ""
    every: int = 1
    decay: float = 1.0

    def start(self, model: nn.Module) -> torch.optim.Optimizer:
        parameters = [p for name, p in model.named_parameters() if name.startswith(self.of)]
        return class_named(self.optimizer)(parameters, **dict(self.options))

    def steps(self, t: int) -> bool:
        return t % self.every == self.every - 1


BODY = Part("SGD", (("lr", 0.1), ("momentum", 0.9)), "0")
PLAIN = Part("SGD", (("lr", 0.2),), "0", decay=0.9)
ADAMW = (("lr", 0.05), ("eps", 1e-3), ("weight_decay", 0.1))
HEAD = Part("AdamW", ADAMW, "2", decay=0.8)
RARE = Part("AdamW", ADAMW, "2", every=3)
ADAGRAD = Part("Adagrad", (("lr", 0.1), ("eps", 1e-2), ("initial_accumulator_value", 0.1)), "2", every=3)
NADAM = Part("NAdam", (("lr", 0.05), ("eps", 1e-3)), "2", every=3)
WHOLE = Part("Adam", (("lr", 0.05), ("eps", 1e-3)))
Job = list[Part]
RUNS: dict[str, tuple[list[Job], float]] = {
    "both each step": ([[PLAIN, HEAD]], 0.0),
    "the head each third step": ([[BODY, RARE]], 0.0),
    "gradients clipped, of what rests too": ([[BODY, RARE]], 0.1),
    "slots that do not start at zero": ([[Part("Adagrad", ADAGRAD.options, "0"), NADAM]], 0.0),
    "one of one class": ([[BODY, Part("SGD", (("lr", 0.05), ("momentum", 0.5)), "2", every=3)]], 0.0),
    "two, then one": ([[BODY, RARE], [WHOLE]], 0.0),
    "one, then two": ([[WHOLE], [PLAIN, ADAGRAD]], 0.0),
    "body, then two": ([[BODY], [BODY, RARE]], 0.0),
}


def trained(
    jobs: list[Job], clip: float, intervention: str = "", stage: list[int] | None = None, folder: Path | None = None
) -> nn.Module:
    """Train as anyone would write it, with the intervention at the steps of the stage."""
    model, t, within = network(), 0, stage or []
    for number, job in enumerate(jobs):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(name.startswith(part.of) for part in job))
        optimizers = [part.start(model) for part in job]
        given = {"data": (X, Y), "clip": clip or None, "states": number + 2}
        recorder = aadsl.Recorder(folder / str(number), model, optimizers, **given) if folder else None
        for local in range(LENGTH):
            inside, t = t in within, t + 1
            if inside and intervention in ("skip", "restart"):
                continue
            if intervention == "restart" and t - 2 in within:
                optimizers = [part.start(model) for part in job]
            x, y = OTHERS if inside and intervention == "replace" else (X, Y)
            rows = torch.arange(5 * t, 5 * t + 5)
            model.zero_grad()
            loss(model, (x[rows], y[rows])).backward()
            if recorder:
                recorder.batch(indices=rows)
            for parameter in model.parameters():
                if inside and intervention in ("zero_gradient", "reweight") and parameter.grad is not None:
                    parameter.grad *= 0.0 if intervention == "zero_gradient" else 2.0
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            for part, optimizer in zip(job, optimizers, strict=True):
                factor = 0.5 if inside and intervention == "scale_lr" else 1.0
                optimizer.param_groups[0]["lr"] = dict(part.options)["lr"] * part.decay**local * factor
                if part.steps(local):
                    optimizer.step()
        if recorder:
            recorder.close()
    return model.requires_grad_()


def behavior(model: nn.Module) -> float:
    return log_likelihood(model, BEHAVIOR).mean().item()


@pytest.fixture(scope="module", params=RUNS)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, History]:
    jobs, clip = RUNS[request.param]
    folder = tmp_path_factory.mktemp("run")
    trained(jobs, clip, folder=folder)
    trajectory = aadsl.open_trajectory([folder / str(number) for number in range(len(jobs))])
    assert trajectory.length == LENGTH * len(jobs)
    return request.param, History(trajectory, model=network(), loss=loss, data=(X, Y), device="cpu")


def stages(history: History) -> dict[str, list[int]]:
    found = {"early": [1, 2], "where both step": [5], "before the head": [0, 1, 2, 4]}
    return found | ({"across": [7, 8], "second run": [9, 10]} if history.length > LENGTH else {})


def variation(name: str, stage: list[int], length: int) -> Variation:
    member = np.isin(np.arange(length), stage)
    return counterfactual(INTERVENTIONS[name](**ARGUMENTS.get(name, {})), member)


def test_the_replay_has_the_bits_of_the_loop(recorded: tuple[str, History]) -> None:
    name, history = recorded
    report = history.trajectory.verify(model=network(), loss=loss, data=(X, Y), samples=20, device="cpu")
    assert report.ok, report
    replayed = final_state(history, history.step_map).parameters
    walked = history.state(0)
    for t in range(history.length):
        walked = history.step_map(walked, history.step(t))
    model = dict(trained(*RUNS[name]).named_parameters())
    for vector in (replayed, walked.parameters):
        assert all(torch.equal(v, model[n]) for n, v in history.objective.parameters.named_views(vector).items())


@pytest.mark.parametrize("intervention", FIXED)
def test_a_rerun_is_the_loop_one_would_write(recorded: tuple[str, History], intervention: str) -> None:
    name, history = recorded
    for stage in stages(history).values():
        varied = variation(intervention, stage, history.length)
        (end,) = reruns(history, history.step_map, [varied], [min(stage)])
        expected = dict(trained(*RUNS[name], intervention, stage).named_parameters())
        for of, vector in history.objective.parameters.named_views(end.state.parameters).items():
            assert torch.allclose(vector, expected[of], rtol=0, atol=1e-12), (stage, of)


@pytest.mark.parametrize("intervention", ["skip", "restart", "scale_lr"])
def test_together_as_one_after_the_other(recorded: tuple[str, History], intervention: str) -> None:
    history = recorded[1]
    cases = list(stages(history).values())
    varied = [variation(intervention, stage, history.length) for stage in cases]
    firsts = [min(stage) for stage in cases]
    single = {end.position: end.state for end in reruns(history, history.step_map, varied, firsts)}
    for end in ensemble(history, history.step_map, varied, firsts, size=3):
        pairs = zip(end.state.tensors(), single[end.position].tensors(), strict=True)
        assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in pairs)


def test_exact_answers_and_estimates(recorded: tuple[str, History]) -> None:
    name, history = recorded
    study = aadsl.Study(history.trajectory, model=network(), loss=loss, data=(X, Y), device="cpu")
    study.behavior("b", log_likelihood, on=BEHAVIOR)
    chosen = stages(history)
    for stage, steps in chosen.items():
        study.stage(stage, steps)
    jobs, clip = RUNS[name]
    value = behavior(trained(jobs, clip))
    truth = np.array([value - behavior(trained(jobs, clip, "skip", steps)) for steps in chosen.values()])
    exact = study.retrain(list(chosen), ["b"])
    assert np.allclose(exact.effect.values[:, 0], truth, rtol=0, atol=1e-10)
    for estimator in ESTIMATORS:
        found = study.score(list(chosen), ["b"], estimator=estimator).effect.values[:, 0]
        assert np.isfinite(found).all(), estimator
        if estimator == "blocks":
            assert np.corrcoef(found, truth)[0, 1] > 0.8, (estimator, found, truth)


@pytest.mark.parametrize("estimator", ["first_order", "blocks"])
def test_estimates_are_derivatives(recorded: tuple[str, History], estimator: str) -> None:
    """Of a stage that hardly changes anything: central truth is what they converge to."""
    history = recorded[1]
    study = aadsl.Study(history.trajectory, model=network(), loss=loss, data=(X, Y), device="cpu")
    study.behavior("b", log_likelihood, on=BEHAVIOR)
    chosen = stages(history)
    for stage, steps in chosen.items():
        study.stage(stage, steps)
    size = 1e-4
    ends = []
    for weight in (1 - size, 1 + size):
        question = INTERVENTIONS["reweight"](weight=weight)
        ends.append(study.retrain(list(chosen), ["b"], intervention=question).effect.values[:, 0])
    truth = (ends[0] - ends[1]) / 2
    estimate = study.score(
        list(chosen), ["b"], estimator=estimator, intervention=INTERVENTIONS["reweight"](weight=1 - size)
    ).effect.values[:, 0]
    assert np.allclose(estimate, truth, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_of_them_alone_starts_afresh(tmp_path: Path, jobs: int) -> None:
    """The head's optimizer is another one from the middle on, and the body's goes on: in one run, or in two."""

    def loop(skipped: list[int], folder: Path | None = None) -> nn.Module:
        model = network()
        body, head = BODY.start(model), NADAM.start(model)
        recorder = aadsl.Recorder(folder / "0", model, [body, head], (X, Y)) if folder else None
        for t in range(8):
            if t == 4 and jobs == 2:
                head = NADAM.start(model)
                if recorder and folder:
                    recorder.close()
                    recorder = aadsl.Recorder(folder / "1", model, [body, head], (X, Y))
            elif t == 4:
                head.state.clear()
                if recorder:
                    recorder.phase("new head")
            if t in skipped:
                continue
            rows = torch.arange(5 * t, 5 * t + 5)
            model.zero_grad()
            loss(model, (X[rows], Y[rows])).backward()
            if recorder:
                recorder.batch(indices=rows)
            body.step()
            if t in (0, 1, 5, 6):
                head.step()
        if recorder:
            recorder.close()
        return model

    loop([], tmp_path)
    trajectory = aadsl.open_trajectory([tmp_path / str(number) for number in range(jobs)])
    assert [phase.resets_optimizer for phase in trajectory.phases] == [True, False]
    assert trajectory.verify(model=network(), loss=loss, data=(X, Y), samples=20, device="cpu").ok
    history = History(trajectory, model=network(), loss=loss, data=(X, Y), device="cpu")
    cases = [[1, 2], [3, 4], [4, 5]]
    varied = [variation("skip", stage, history.length) for stage in cases]
    for run in (reruns, lambda *given: ensemble(*given, size=4)):
        for end in run(history, history.step_map, varied, [min(stage) for stage in cases]):
            expected = dict(loop(cases[end.position]).named_parameters())
            for name, vector in history.objective.parameters.named_views(end.state.parameters).items():
                assert torch.allclose(vector, expected[name], rtol=0, atol=1e-12), (cases[end.position], name)
