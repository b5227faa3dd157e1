"""Runs of Muon: the bits of PyTorch's, the derivative of its steps, and answers as plain loops give them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.dynamics import OF_MATRICES, kind_of, scalars_of
from aadsl.estimators import FirstOrder
from aadsl.trajectory.record.group_scalars import scalar_keys

LENGTH, SIZE = 16, 8
SHAPES = ((5, 7), (9, 3), (4, 4))
OPTIONS: tuple[dict[str, Any], ...] = (
    {"lr": 0.02},
    {"lr": 0.02, "nesterov": False, "weight_decay": 0.0, "adjust_lr_fn": "original"},
    {"lr": 0.02, "momentum": 0.8, "ns_steps": 3, "adjust_lr_fn": "match_rms_adamw", "eps": 1e-3},
)
X = torch.randn(LENGTH * SIZE, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randint(0, 3, (len(X),), generator=torch.Generator().manual_seed(2))


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def made(options: dict[str, Any], dtype: torch.dtype, seed: int = 0) -> tuple[list[nn.Parameter], torch.optim.Muon]:
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]
    return parameters, torch.optim.Muon(parameters, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_have_the_bits_of_torch_optim(options: dict[str, Any], dtype: torch.dtype) -> None:
    parameters, optimizer = made(options, dtype)
    group = optimizer.param_groups[0]
    dynamics, hyper = OF_MATRICES["Muon"](SHAPES, group), scalars_of(group, scalar_keys(optimizer))
    own = flat(parameters)
    slots, generator = dynamics.initial(own, hyper), torch.Generator().manual_seed(3)
    for _ in range(12):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=dtype)
        own, slots = dynamics.step(own, slots, flat(parameter.grad for parameter in parameters), hyper)
        optimizer.step()
        assert torch.equal(own, flat(parameters))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_its_derivative_is_that_of_the_steps_in_double_precision(options: dict[str, Any]) -> None:
    _, optimizer = made(options, torch.float64)
    group = optimizer.param_groups[0]
    dynamics, hyper = OF_MATRICES["Muon"](SHAPES, group), scalars_of(group, scalar_keys(optimizer))
    inputs = [flat(made(options, torch.float64, seed)[0]).requires_grad_() for seed in (4, 5, 6)]

    def step(parameter: Tensor, momentum: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        after, slots = dynamics.step(parameter, {"momentum_buffer": momentum}, gradient, hyper)
        return after, slots["momentum_buffer"]

    assert torch.autograd.gradcheck(step, inputs)
    rounded, _ = step(*(one.detach() for one in inputs))
    assert torch.allclose(rounded, step(*inputs)[0], rtol=0, atol=0.05 * hyper["lr"])


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path: Path | None = None, without: Collection[int] = ()) -> nn.Module:
    """Train matrices by Muon, and biases by AdamW, as PyTorch's documentation has it."""
    model = network()
    matrices, others = ([p for p in model.parameters() if (p.dim() == 2) is wanted] for wanted in (True, False))
    optimizers = [torch.optim.Muon(matrices, lr=0.01), torch.optim.AdamW(others, lr=0.01)]
    recorder = aadsl.Recorder(path, model, optimizers, data=(X, Y), states=4) if path else None
    for t in range(LENGTH):
        rows = torch.arange(t * SIZE, (t + 1) * SIZE)
        if t not in without:
            model.zero_grad()
            loss(model, (X[rows], Y[rows])).backward()
            if recorder:
                recorder.batch(indices=rows)
            for optimizer in optimizers:
                optimizer.step()
    if recorder:
        recorder.close()
    return model


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> aadsl.Study:
    path = tmp_path_factory.mktemp("run")
    train(path)
    study = aadsl.Study(aadsl.open_trajectory(path), model=network(), loss=loss, data=(X, Y), device="cpu")
    study.stage("early", slice(4, 7))
    for t in range(LENGTH):
        study.stage(f"step {t}", [t])
    study.behavior("right", "log_likelihood", on=(X, Y))
    return study


def test_the_replay_has_every_bit_and_exact_answers_are_those_of_the_loop(study: aadsl.Study) -> None:
    assert "every bit the same" in str(study.verify_trajectory(samples=20))
    expected = dict(train(without=range(4, 7)).named_parameters())
    assert all(torch.equal(p, expected[n]) for n, p in study.counterfactual("early").named_parameters())
    assert study.score(["early"], ["right"]).exact.all()


def test_effects_of_all_steps_are_estimated(study: aadsl.Study) -> None:
    steps = [f"step {t}" for t in range(LENGTH)]
    estimates = study.step_effects(["right"], estimator=FirstOrder()).values.ravel()
    truths = study.retrain(steps, ["right"]).effect.values.ravel()
    assert np.corrcoef(estimates, truths)[0, 1] > 0.8


def test_a_subclass_that_steps_alike_counts_as_it() -> None:
    class Named(torch.optim.Muon):
        """Has another name alone."""

    class Other(torch.optim.Muon):
        def step(self, closure: Any = None) -> None:
            """Do nothing."""

    weights = [nn.Parameter(torch.ones(2, 3))]
    assert kind_of(Named(weights)) == "Muon" != kind_of(Other(weights))
