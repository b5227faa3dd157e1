"""Which states are kept: as many as the plan wishes for, as long as training does not pay for them."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.trajectory import Recorder, open_trajectory
from aadsl.trajectory.record import pace as paces
from aadsl.trajectory.record.pace import FREE, SHARE, Pace
from aadsl.trajectory.record.plans import plan_of
from aadsl.trajectory.store.states import StateWriter
from tests.trajectory.loops import DATA, mean_loss, sgd, small_model, train

AFFORD = Pace._unaffordable  # before the suite lets every state be affordable


@pytest.fixture
def elastic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "_unaffordable", AFFORD)


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(
    states: Any, steps: int, step_seconds: float, copy_seconds: float, busy: float = 0.0
) -> tuple[list[int], Pace]:
    """Return the states kept by a run whose writer takes ``busy`` seconds for each, and the pace."""
    clock, writer, free_at, found = Clock(), SimpleNamespace(idle=True), 0.0, []
    pace = Pace(plan_of(states), writer, 0, clock)  # type: ignore[arg-type]
    for step in range(1, steps + 1):
        clock.now += step_seconds
        writer.idle = clock.now >= free_at
        if pace.due(step):
            with pace.copying():
                clock.now += copy_seconds
            free_at = clock.now + busy
            found.append(step)
    return found, pace


def wishes(steps: int) -> list[int]:
    return [step for step in range(1, steps + 1) if plan_of("sqrt").due(step)]


def test_cheap_states_are_all_kept(elastic: None) -> None:
    found, pace = kept("auto", 2000, 0.01, 1e-4)
    assert found == wishes(2000)
    assert str(pace) == f"{len(found)} wished for by the plan"


@pytest.mark.parametrize("copy_seconds", [0.02, 0.2, 2.0])
def test_dear_states_take_their_share_and_no_more(elastic: None, copy_seconds: float) -> None:
    steps, step_seconds = 5000, 0.01
    found, pace = kept("auto", steps, step_seconds, copy_seconds)
    spent = copy_seconds * len(found)
    allowed = FREE + SHARE * (steps * step_seconds + spent)
    assert found[0] == 1 and spent <= max(allowed, copy_seconds)  # the state after the first step comes in any case
    # It is used up, or in the end every wish is fulfilled in time.
    assert spent > allowed - 2 * copy_seconds or found[-10:] == wishes(steps)[-10:]
    assert "later because more would have taken over 3% of the time" in str(pace)


def test_a_busy_writer_gets_none_and_a_wish_waits_for_it(elastic: None) -> None:
    found, pace = kept("auto", 300, 0.1, 0.0, busy=2.05)
    assert all(later - earlier > 20 for earlier, later in pairwise(found[1:]))
    assert set(found) - set(wishes(300)) and "later because the disk was busy" in str(pace)


@pytest.mark.parametrize("states", ["sqrt", "all", 7])
def test_what_is_asked_for_by_name_is_kept_whatever_it_costs(elastic: None, states: Any) -> None:
    assert kept(states, 100, 0.001, 1.0, busy=50.0)[0] == [t for t in range(1, 101) if plan_of(states).due(t)]


def test_training_goes_on_while_a_state_is_written(
    tmp_path: Path, elastic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk hangs at the second state: 40 steps are taken, no state is queued, nothing waits; then all is there."""
    write, gate, hanging = StateWriter.write, threading.Event(), threading.Event()

    def slow(writer: StateWriter, step: int, packed: Any) -> None:
        if step == 1:
            hanging.set()
            gate.wait()
        write(writer, step, packed)

    monkeypatch.setattr(StateWriter, "write", slow)
    monkeypatch.setattr(paces, "FREE", float("inf"))  # nothing is dear, however slow this machine is
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 1)
        assert hanging.wait(60)
        monkeypatch.setattr("aadsl.trajectory.record.writer.time.sleep", _must_not_wait)
        train(recorder, model, optimizer, 40, first=1)
        gate.set()
        monkeypatch.undo()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 41
    assert trajectory.checkpoints == (0, 1, 41)
    assert trajectory.provenance["states"].startswith("3 kept; 5 wished for by the plan, 4 later because the disk")
    assert trajectory.verify(model=small_model(), loss=mean_loss, data=DATA, device="cpu").ok


def _must_not_wait(seconds: float) -> None:
    raise AssertionError("training waited for the writer")


def test_a_run_with_few_states_answers_as_one_with_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def effect(states: Any) -> float:
        model = small_model()
        optimizer = sgd(model)
        torch.manual_seed(1)
        with Recorder(tmp_path / str(states), model, optimizer, DATA, states=states) as recorder:
            train(recorder, model, optimizer, 30)
        study = aadsl.Study(
            open_trajectory(tmp_path / str(states)), model=small_model(), loss=mean_loss, data=DATA, device="cpu"
        )
        study.stage("some", slice(4, 9))
        study.behavior("all", "log_likelihood", on=DATA)
        return study.score(["some"], ["all"]).effect.item()

    monkeypatch.setattr(Pace, "_unaffordable", lambda pace: paces.DEAR)
    few = effect("auto")
    assert open_trajectory(tmp_path / "auto").checkpoints == (0, 1, 30)
    assert few == effect("all")


def test_a_copy_for_which_a_device_has_no_room_goes_tensor_by_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    from aadsl.trajectory.store import tensors

    cat, refused = torch.cat, []

    def full(parts: list[Tensor]) -> Tensor:
        if not refused:
            refused.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cat(parts)

    entries = [tensors.StateEntry("parameters", "", name, p) for name, p in nn.Linear(3, 2).named_parameters()]
    expected = tensors.pack(entries)
    monkeypatch.setattr(torch, "cat", full)
    packed = tensors.pack(entries)
    assert refused and all(torch.equal(flat, expected.flats[name]) for name, flat in packed.flats.items())
