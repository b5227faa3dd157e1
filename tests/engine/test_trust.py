"""The rule of trust, on what it is told and on runs where first order works and where it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.propagation import kinks
from aadsl.study.calibration import compared, sampled_steps
from aadsl.study.trust import Calibration, Evidence, verdict
from tests.benchmarks.models import mlp
from tests.engine.studies import digits_study, loss


@pytest.mark.parametrize(
    ("evidence", "level"),
    [
        (Evidence(exact=True, growth=1e9), "high"),
        (Evidence(), "medium"),
        (Evidence(growth=1.5), "medium"),
        (Evidence(growth=5.0), "medium"),
        (Evidence(growth=50.0), "low"),
        (Evidence(growth=1.5, disagreement=0.2), "medium"),
        (Evidence(growth=1.5, disagreement=0.9), "low"),
        (Evidence(disagreement=0.9, plug_in=True), "medium"),
        (Evidence(growth=50.0, calibration=Calibration((1, 2), 1.0, 0.99, 0.05, (0.02, 0.08))), "high"),
        (Evidence(growth=1.0, calibration=Calibration((1, 2), 1.0, 0.9, 0.3, (0.2, 0.4))), "medium"),
        (Evidence(growth=1.0, calibration=Calibration((1, 2), 0.1, 0.2, 0.9, (0.8, 1.0))), "low"),
        (Evidence(growth=1.0, calibration=Calibration((1, 2), 3.0, 0.99, 2.0, (1.8, 2.2))), "medium"),
    ],
)
def test_the_rule(evidence: Evidence, level: str) -> None:
    found, reason = verdict(evidence)
    assert found == level
    assert len(reason) > 10


def test_a_calm_run_is_trusted_once_it_is_checked(tmp_path: Path) -> None:
    study = digits_study(tmp_path / "calm", lr=0.001)
    unchecked = study.score(["early"], ["digits"])
    assert unchecked.trust.item() == "medium" and "study.check" in unchecked.trust_reason.item()
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
            plenty.trajectory, model=mlp("relu", 32), loss=loss, data=plenty.data, device="cpu", memory=state
        ).history.limit


@pytest.mark.parametrize(
    ("layer", "kinked"),
    [(nn.ReLU(inplace=True), True), (nn.GELU(), False), (nn.LeakyReLU(), True), (nn.Tanh(), False), (nn.ReLU6(), True)],
    ids=str,
)
def test_kinks_are_seen_in_the_operators_that_run(layer: nn.Module, kinked: bool) -> None:
    assert bool(kinks(lambda: layer(torch.randn(3)))) is kinked
    assert kinks(lambda: torch.relu(torch.randn(3))) == {"relu"}
    assert kinks(lambda: nn.functional.max_pool2d(torch.randn(1, 1, 4, 4), 2))
