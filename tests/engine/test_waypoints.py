"""Counterfactual runs fork from where the control run passed: nothing is replayed twice, and the bits stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aadsl.propagation import FlatState, Step, StepMap
from aadsl.replayed.waypoints import Waypoints
from tests.engine.studies import digits_study

FIRSTS = [3, 13]  # between stored states


def answered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, int]:
    """Return the exact effects of two single steps, and how many steps were replayed more often than was needed.

    A step is needed once for the control run, and once for every run that differs from an earlier one on.
    """
    study, taken, honest = digits_study(folder, lr=0.01, length=30, within="1 h"), Counter(), StepMap.advance

    def advance(self: StepMap, state: FlatState, step: Step, *arguments: Any) -> Any:
        taken[step.index] += step.applied
        return honest(self, state, step, *arguments)

    study.family("step", {t: [t] for t in FIRSTS})
    assert not set(FIRSTS) & set(study.trajectory.checkpoints)
    study.plan(["step"], ["digits"])  # what a step takes is measured once
    with monkeypatch.context() as patch:
        patch.setattr(StepMap, "advance", advance)
        answer = study.score(["step"], ["digits"])
    assert answer.exact.values.all() and not study.history.waypoints.states
    more = sum(max(0, times - 1 - sum(first < t for first in FIRSTS)) for t, times in taken.items())
    assert taken[29] == 1 + len(FIRSTS)
    return answer.effect.values, more


def test_no_step_is_replayed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    effects, more = answered(tmp_path / "run", monkeypatch)
    assert more == 0
    monkeypatch.setattr(Waypoints, "passed", lambda *_: None)
    again, more = answered(tmp_path / "other", monkeypatch)
    assert np.array_equal(again, effects) and more > 0


def test_of_large_states_none_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.replayed.waypoints.HELD_BYTES", 0)
    assert answered(tmp_path / "run", monkeypatch)[1] > 0
