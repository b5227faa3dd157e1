"""A step that drew random numbers has the generator state its forward started from, however seldom one looks."""

from __future__ import annotations

import tempfile
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aadsl.trajectory import Recorder, open_trajectory
from tests.trajectory.loops import INPUTS, TARGETS, mean_loss, sgd, small_model

steps = st.lists(
    st.fixed_dictionaries({name: st.booleans() for name in ("dropout", "between", "reseeded", "flushed")}), max_size=12
)


@settings(deadline=None, max_examples=20)
@given(steps)
def test_what_is_drawn_in_a_step_is_never_missed(steps: list[dict[str, bool]]) -> None:
    model = small_model(dropout=0.5)
    optimizer = sgd(model, lr=0.001)
    began, ended = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("aadsl.trajectory.record.watch._WARY", 2),
        Recorder(folder, model, optimizer) as recorder,
    ):
        for step in steps:
            model.train(step["dropout"])
            if step["reseeded"]:
                torch.manual_seed(1)
            recorder.batch(indices=[0])
            began.append(torch.get_rng_state())
            mean_loss(model, (INPUTS, TARGETS)).backward()
            optimizer.step()
            ended.append(torch.get_rng_state())
            if step["flushed"]:
                recorder.flush()
            if step["between"]:
                torch.rand(1)
        recorder.close()
        trajectory = open_trajectory(folder)
        assert trajectory.length == len(steps)
        for step, (before, after) in enumerate(zip(began, ended, strict=True)):
            noted = trajectory.rng_state(step)
            assert noted is None or torch.equal(noted, before)
            assert noted is not None or torch.equal(before, after)
        if not any(step["dropout"] or step["between"] or step["reseeded"] for step in steps):
            assert all(trajectory.rng_state(step) is None for step in range(len(steps)))


@pytest.mark.parametrize("between", [False, True])
def test_one_look_a_step_while_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch, between: bool) -> None:
    looks = 0
    look = torch.default_generator.get_state

    class Counted:
        def get_state(self) -> torch.Tensor:
            nonlocal looks
            looks += 1
            return look()

    monkeypatch.setattr(torch, "default_generator", Counted())
    monkeypatch.setattr("aadsl.trajectory.record.watch._WARY", 10)
    model = small_model()
    optimizer = sgd(model, lr=0.001)
    with tempfile.TemporaryDirectory() as folder:
        with Recorder(folder, model, optimizer) as recorder:
            for _ in range(100):
                recorder.batch(indices=[0])
                mean_loss(model, (INPUTS, TARGETS)).backward()
                optimizer.step()
                if between:
                    torch.rand(1)
        trajectory = open_trajectory(folder)
        noted = sum(trajectory.rng_state(step) is not None for step in range(100))
    # A draw between two steps is noted once, and each step looked at again for a while where it ends, and announced.
    assert noted == (9 if between else 0)
    assert looks == 100 + (10 * 9 + 1 if between else 10) + (9 * 9 + 1 if between else 10) + (0 if between else 1)
