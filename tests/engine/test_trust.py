"""What a study says of estimates: checks, bounds, memory."""

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
from tests.benchmarks.models import mlp
from tests.engine.studies import digits_study, loss


def test_a_check_says_how_near_estimates_come(tmp_path: Path) -> None:
    calm, wild = digits_study(tmp_path / "calm", lr=0.001), digits_study(tmp_path / "wild", lr=0.5)
    check = calm.check(["digits"], samples=5).sel(behavior="digits")
    assert float(check.slope) == pytest.approx(1, abs=0.1)
    assert float(check.low) <= float(check.relative_error) <= float(check.high) < 0.1
    # A learning rate at which first order is known to fail.
    assert float(wild.check(["digits"], samples=5).relative_error.item()) > 0.5


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
