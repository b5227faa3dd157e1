"""Runs that no training repeats to the bit: what two trainings differ by is the noise, and several make a mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl import Recorder, Study, open_trajectory
from aadsl.core.errors import AadslError
from aadsl.estimators import Retraining
from aadsl.estimators.retraining import RunEffects
from aadsl.interventions import INTERVENTIONS
from aadsl.propagation import StepMap
from aadsl.study.exact_answers import together
from aadsl.study.shapley import student_quantile

INPUTS = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(3, (60,), generator=torch.Generator().manual_seed(2))
STEPS = 24


class Atomic(nn.Linear):
    """A linear layer that rounds in another way each time, as kernels do whose threads add up in any order."""

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = F.linear(inputs, self.weight, self.bias)
        draws = np.frombuffer(os.urandom(outputs.numel()), dtype=np.int8).astype(np.float32)
        return outputs * (1 + 2**-26 * torch.from_numpy(draws).reshape(outputs.shape))


def model(noisy: bool) -> nn.Module:
    torch.manual_seed(0)
    first = (Atomic if noisy else nn.Linear)(8, 16)
    return nn.Sequential(first, nn.Tanh(), nn.Linear(16, 3))


def loss(net: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def study(folder: Path, noisy: bool = True) -> Study:
    net = model(noisy)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with Recorder(folder, net, optimizer, (INPUTS, TARGETS)) as recorder:
        for t in range(STEPS):
            rows = torch.arange(5 * t, 5 * t + 5) % 60
            recorder.batch(indices=rows)
            optimizer.zero_grad()
            loss(net, (INPUTS[rows], TARGETS[rows])).backward()
            optimizer.step()
    return asked(folder, noisy)


def asked(folder: Path, noisy: bool = True) -> Study:
    found = Study(open_trajectory(folder), model=model(noisy), loss=loss, data=(INPUTS, TARGETS), device="cpu")
    found.stage("early", slice(2, 5))
    found.stage("late", slice(20, 22))
    found.behavior("right", "log_likelihood", on=(INPUTS, TARGETS))
    return found


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replayed steps."""
    taken: list[int] = []
    advance = StepMap.advance
    monkeypatch.setattr(StepMap, "advance", lambda *given: taken.append(1) or advance(*given))
    return taken


def by_hand(without: range) -> float:
    """Return the log-likelihood after a plain loop without some steps."""
    net = model(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for t in range(STEPS):
        if t not in without:
            rows = torch.arange(5 * t, 5 * t + 5) % 60
            optimizer.zero_grad()
            loss(net, (INPUTS[rows], TARGETS[rows])).backward()
            optimizer.step()
    return -loss(net, (INPUTS, TARGETS)).item()


def test_what_trainings_without_a_change_differ_by_is_the_noise(tmp_path: Path, trainings: list[int]) -> None:
    noisy = study(tmp_path / "run")
    answer = noisy.score(["early", "late"], ["right"])
    assert (answer.noise > 0).all() and (answer.noise < 1e-4).all(), answer.noise
    assert (abs(answer.effect) > 2 * answer.noise).all() and set(answer.trust.values.flat) == {"high"}
    assert "a run without any change is off by" in str(answer.trust_reason.values[0, 0])
    truth = [by_hand(range(0)) - by_hand(part) for part in (range(2, 5), range(20, 22))]
    assert np.allclose(answer.effect.values[:, 0], truth, atol=1e-4)

    trainings.clear()
    again = asked(tmp_path / "run").score(["early", "late"], ["right"])
    assert np.array_equal(again.effect, answer.effect) and np.array_equal(again.noise, answer.noise)
    assert len(trainings) == 0


def test_an_effect_below_twice_the_noise_is_not_trusted(tmp_path: Path) -> None:
    """Nothing is changed, so what is seen is noise; of several draws one is rarely above twice another."""
    noisy = study(tmp_path / "run")
    levels = [
        str(noisy.score([stage], ["right"], intervention=INTERVENTIONS["scale_lr"](factor=1.0)).trust.item())
        for stage in ("early", "late")
    ]
    assert "low" in levels


def test_repeats_give_a_mean_and_its_interval(tmp_path: Path, trainings: list[int]) -> None:
    noisy = study(tmp_path / "run")
    answer = noisy.score(["early"], ["right"], estimator=Retraining(repeats=5))
    low, high, effect = (float(answer[name].item()) for name in ("effect_low", "effect_high", "effect"))
    assert low < effect < high and np.isclose(effect - low, float(answer.noise.item()))
    assert "the mean of 5 trainings, no two of which end alike; 90% interval ±" in str(answer.trust_reason.item())
    assert effect == pytest.approx(by_hand(range(0)) - by_hand(range(2, 5)), abs=1e-4)

    trainings.clear()
    again = asked(tmp_path / "run").score(["early"], ["right"], estimator=Retraining(repeats=5))
    assert float(again.effect.item()) == effect and len(trainings) <= 6, "but for a look whether replays are the same"
    single = asked(tmp_path / "run").score(["early"], ["right"])
    assert float(single.effect.item()) != effect


def test_where_bits_are_the_same_one_training_is_enough(tmp_path: Path, trainings: list[int]) -> None:
    calm = study(tmp_path / "run", noisy=False)
    once = calm.score(["early"], ["right"])
    trainings.clear()
    repeated = calm.score(["early"], ["right"], estimator=Retraining(repeats=5))
    assert not trainings and float(repeated.effect.item()) == float(once.effect.item())
    assert float(repeated.noise.item()) == 0.0 and str(repeated.trust.item()) == "high"


@pytest.mark.parametrize(("noise", "times"), [(True, 5), (False, 1)])
def test_a_plan_foretells_each_training(noise: bool, times: int, tmp_path: Path) -> None:
    asking = study(tmp_path / "run", noise)
    one, five = (asking.plan(["early"], ["right"], Retraining(repeats=n)).cost.gradients for n in (None, 5))
    assert five == times * one


@pytest.mark.parametrize("repeats", [0, 2, 3])
def test_too_few_repeats_are_refused(repeats: int) -> None:
    with pytest.raises(AadslError, match=f"repeats={repeats}(.|\n)*an interval needs 4 of them"):
        Retraining(repeats=repeats)


def test_the_interval_of_a_mean_covers_as_often_as_it_says() -> None:
    """Of draws around 1 whose spread is not known, nine of ten intervals hold it."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        draws = [RunEffects(np.array([1 + 0.3 * x]), np.zeros(1), {}) for x in generator.standard_normal(5)]
        found = together(draws)
        inside += bool(abs(found.effect[0] - 1) <= found.noise[0])
    assert 0.88 < inside / 2000 < 0.92
    assert student_quantile(0.95, 4) == pytest.approx(2.132, rel=4e-3)
