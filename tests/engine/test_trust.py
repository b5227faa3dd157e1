"""The rule of trust, on what it is told and on runs where first order works and where it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import aadsl
from aadsl.errors import AadslError
from aadsl.propagation import kinks
from aadsl.reliability import compared, sampled_steps
from aadsl.trust import Check, Evidence, verdict
from tests.benchmarks.models import mlp


def loss(model: nn.Module, batch: tuple) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def digits_study(folder: Path, lr: float, length: int = 30, **options: object) -> aadsl.Study:
    digits = aadsl.datasets.mnist10k()
    x, y = torch.as_tensor(digits.image.values), torch.as_tensor(digits.label.values)
    torch.manual_seed(0)
    model = mlp("relu", hidden=32)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    with aadsl.Recorder(folder, model, optimizer, data=(x, y)) as recorder:
        for t in range(length):
            indices = np.arange(t * 50, t * 50 + 50)
            optimizer.zero_grad()
            loss(model, (x[indices], y[indices])).backward()
            recorder.batch(indices=indices)
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(folder), model=model, loss=loss, data=(x, y), device="cpu", **options)
    study.behavior("digits", "log_likelihood", on=(x[5000:5200], y[5000:5200]))
    study.stage("early", slice(2, 5))
    return study


@pytest.mark.parametrize(
    ("evidence", "level"),
    [
        (Evidence(exact=True, growth=1e9), "high"),
        (Evidence(), "medium"),
        (Evidence(growth=1.5), "high"),
        (Evidence(growth=5.0), "medium"),
        (Evidence(growth=50.0), "low"),
        (Evidence(growth=1.5, disagreement=0.2), "medium"),
        (Evidence(growth=1.5, disagreement=0.9), "low"),
        (Evidence(disagreement=0.9, plug_in=True), "medium"),
        (Evidence(growth=50.0, check=Check((1, 2), 1.0, 0.99, 0.05, (0.02, 0.08))), "high"),
        (Evidence(growth=1.0, check=Check((1, 2), 1.0, 0.9, 0.3, (0.2, 0.4))), "medium"),
        (Evidence(growth=1.0, check=Check((1, 2), 0.1, 0.2, 0.9, (0.8, 1.0))), "low"),
        (Evidence(growth=1.0, check=Check((1, 2), 3.0, 0.99, 2.0, (1.8, 2.2))), "medium"),
    ],
)
def test_the_rule(evidence: Evidence, level: str) -> None:
    found, reason = verdict(evidence)
    assert found == level
    assert len(reason) > 10


def test_a_calm_run_is_trusted_and_the_check_agrees(tmp_path: Path) -> None:
    study = digits_study(tmp_path / "calm", lr=0.001)
    assert study.score(["early"], ["digits"]).trust.item() == "high"
    check = study.check(["digits"], samples=5).sel(behavior="digits")
    assert float(check.slope) == pytest.approx(1, abs=0.1)
    assert float(check.low) <= float(check.relative_error) <= float(check.high) < 0.1
    result = study.score(["early"], ["digits"])
    assert result.trust.item() == "high"
    assert "against 5 exact replays" in result.trust_reason.item()


def test_a_wild_run_is_not_trusted_and_the_check_agrees(tmp_path: Path) -> None:
    """A learning rate at which first order is known to fail."""
    study = digits_study(tmp_path / "wild", lr=0.5)
    result = study.score(["early"], ["digits"])
    assert result.trust.item() == "low", result.trust_reason.item()
    assert float(study.check(["digits"], samples=5).relative_error.item()) > 0.5
    assert study.score(["early"], ["digits"]).trust.item() == "low"
    assert study.retrain(["early"], ["digits"]).trust.item() == "high"


def test_the_bound_is_larger_for_earlier_and_longer_stages(tmp_path: Path) -> None:
    study = digits_study(tmp_path / "run", lr=0.01)
    study.stage("late", slice(25, 28))
    study.stage("long", slice(2, 20))
    bound = study.error_bound(["early", "late", "long"])
    early, late, long = (bound.sel(stage=name) for name in ("early", "late", "long"))
    assert float(late.exponent) < float(early.exponent), "later stages have less time to drift apart"
    assert float(early.factor) < float(long.factor), "longer stages drift further"


def test_compared_knows_a_perfect_and_a_scaled_estimate() -> None:
    exact = np.array([1.0, -2.0, 3.0])
    assert compared((0, 1, 2), exact, exact).relative_error == 0
    scaled = compared((0, 1, 2), 1.1 * exact, exact)
    assert scaled.slope == pytest.approx(1.1)
    assert scaled.relative_error == pytest.approx(0.1)
    assert scaled.interval == pytest.approx((0.1, 0.1))


def test_steps_are_sampled_from_the_whole_run() -> None:
    steps = sampled_steps(100, 10)
    assert [int(s) // 10 for s in steps] == list(range(10))
    assert list(sampled_steps(3, 10)) == [0, 1, 2]


def test_memory_bounds_the_states_held_and_changes_no_number(tmp_path: Path) -> None:
    plenty = digits_study(tmp_path / "run", lr=0.01)
    state = plenty.history.state(0).nbytes
    tight = aadsl.Study(
        plenty.trajectory, model=mlp("relu", 32), loss=loss, data=plenty.data, device="cpu", memory=8 * state
    )
    tight.behaviors, tight.stages = plenty.behaviors, plenty.stages
    assert tight.history.limit < plenty.history.limit
    assert np.array_equal(tight.step_effects(["digits"]), plenty.step_effects(["digits"]))
    with pytest.raises(AadslError, match="is too little"):
        _ = aadsl.Study(
            plenty.trajectory, model=mlp("relu", 32), loss=loss, data=plenty.data, memory=state
        ).history.limit


def test_an_interrupted_sweep_goes_on_where_it_stood(tmp_path: Path) -> None:
    study = digits_study(tmp_path / "run", lr=0.01)
    whole = digits_study(tmp_path / "again", lr=0.01).step_effects(["digits"])
    seen: list[int] = []

    def interrupting(_what: str, done: int, _total: int) -> None:
        seen.append(done)
        if done == 12 and len(seen) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.step_effects(["digits"], progress=interrupting)
    effects = study.step_effects(["digits"], progress=interrupting)
    assert seen[12] in (12, 13), "the second call must not start over"
    assert np.array_equal(effects, whole)


@pytest.mark.parametrize(
    ("layer", "kinked"),
    [(nn.ReLU(inplace=True), True), (nn.GELU(), False), (nn.LeakyReLU(), True), (nn.Tanh(), False), (nn.ReLU6(), True)],
    ids=str,
)
def test_kinks_are_seen_in_the_operators_that_run(layer: nn.Module, kinked: bool) -> None:
    assert bool(kinks(lambda: layer(torch.randn(3)))) is kinked
    assert kinks(lambda: torch.relu(torch.randn(3))) == {"relu"}
    assert kinks(lambda: nn.functional.max_pool2d(torch.randn(1, 1, 4, 4), 2))


def test_a_study_made_anew_goes_on_with_an_interrupted_sweep(tmp_path: Path) -> None:
    """Running a notebook's cell again loads the run and names the behavior again."""
    whole = digits_study(tmp_path / "whole", lr=0.01).step_effects(["digits"])
    first = digits_study(tmp_path / "run", lr=0.01)
    seen: list[int] = []

    def interrupting(_what: str, done: int, _total: int) -> None:
        seen.append(done)
        if len(seen) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.step_effects(["digits"], progress=interrupting)
    digits = first.behaviors["digits"].examples
    again = aadsl.Study(first.trajectory, model=mlp("relu", 32), loss=loss, data=first.data, device="cpu")
    again.behavior("digits", "log_likelihood", on=digits)
    effects = again.step_effects(["digits"], progress=interrupting)
    assert seen[12] in (12, 13), "the second study must not start over"
    assert np.array_equal(effects, whole)
