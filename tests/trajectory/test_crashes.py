"""A process killed at any moment leaves a trajectory that opens and is true up to its last committed segment."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import aadsl.trajectory.record.recorder
from aadsl.trajectory import Recorder, Trajectory, open_trajectory
from aadsl.trajectory.record.pace import Pace
from aadsl.trajectory.store.header import NAME
from aadsl.trajectory.store.states import StateWriter
from tests.soak.children import CALM, Blow

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # forking with threads about: the child only records
]

RATE = 0.5
KILLS = 10  # a run begun, and continued after nine crashes
OPERATIONS = 24  # on the disk: those of the first few steps
MESSAGE = struct.calcsize("q")


def expected_weight(step: int) -> torch.Tensor:
    """θ_t of gradient descent on the sum of two weights: exact in float32 as long as t is small."""
    return torch.full((1, 2), -RATE * step)


torch.optim.SGD([torch.zeros(1)], lr=0.1)  # imports half of PyTorch: here, not in each child


def count_on(folder: Path, committed: int, attempt: int, states: Any = 3) -> None:
    """Train without end, from the last stored state; tell the pipe ``committed`` which steps are surely on disk.

    The data are those of this ``attempt``: what an earlier one left behind can be told from them.
    """
    model = nn.Linear(2, 1, bias=False)
    resumed = (folder / NAME).exists()
    start = max(open_trajectory(folder).checkpoints, default=0) if resumed else 0
    with torch.no_grad():
        model.weight.copy_(expected_weight(start))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    recorder = Recorder(folder, model, optimizer, states=states, step=start if resumed else None)
    inputs = torch.ones(1, 2)
    for step in range(start, 10**6):
        optimizer.zero_grad()
        model(inputs).sum().backward()
        recorder.batch(indices=[step, attempt], number=step, attempt=attempt, tag=f"step {step}")
        optimizer.step()
        if step % 7 == 0:
            recorder.flush()
            os.write(committed, struct.pack("q", step + 1))


def killed_after(commits: int, seconds: float, folder: Path, attempt: int, states: Any = 3, blow: Blow = CALM) -> int:
    """Fork a child that records, kill it; return how many steps it had surely committed.

    It is killed some ``seconds`` after it told of ``commits`` commits, however long a busy machine takes for these; or
    by a ``blow`` before.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        warnings.simplefilter("ignore")
        try:
            blow.arm()
            count_on(folder, send, attempt, states)
        except BaseException:
            folder.with_suffix(".txt").write_text(traceback.format_exc())
        finally:
            os._exit(1)
    os.close(send)
    told = b""
    while len(told) < MESSAGE * commits and (chunk := os.read(receive, MESSAGE)):  # nothing is read of a dead child
        told += chunk
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while chunk := os.read(receive, 1 << 16):
        told += chunk
    os.close(receive)
    assert os.WIFSIGNALED(status), folder.with_suffix(".txt").read_text()
    return struct.unpack("q", told[-MESSAGE:])[0] if told else 0


def check(trajectory: Trajectory) -> None:
    for step in trajectory.checkpoints:
        assert torch.equal(trajectory.state(step).parameters["weight"], expected_weight(step))
    if not trajectory.length:
        return
    assert trajectory.steps["number"].values.tolist() == list(range(trajectory.length))
    assert trajectory.steps["tag"].values.tolist() == [f"step {t}" for t in range(trajectory.length)]
    attempts = trajectory.steps["attempt"].values
    assert (np.diff(attempts) >= 0).all()
    for step, attempt in enumerate(attempts):
        assert np.array_equal(trajectory.batch_indices(step), [step, attempt])


AFFORD = Pace._unaffordable  # before the suite lets every state be affordable


def test_killed_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States wait until the disk is free, rows do not wait for more than one of them."""
    write = StateWriter.write

    def slowly(writer: StateWriter, step: int, packed: Any) -> None:
        time.sleep(0.05 * (step > 1))
        write(writer, step, packed)

    monkeypatch.setattr(Pace, "_unaffordable", AFFORD)
    monkeypatch.setattr(StateWriter, "write", slowly)
    for kill in range(3):
        folder = tmp_path / f"run-{kill}"
        committed = killed_after(3 + kill, 0.02 * kill, folder, kill, "auto")
        trajectory = open_trajectory(folder)
        assert trajectory.length >= committed >= 15 and {0, 1} <= set(trajectory.checkpoints)
        check(trajectory)


def test_killed_at_any_operation_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a file or a folder is on the disk, and before a file has its name."""
    monkeypatch.setattr(aadsl.trajectory.record.journal, "FLUSH_SECONDS", 0.0)
    half_written = lengths = 0
    for operation in range(OPERATIONS):
        folder = tmp_path / f"run-{operation}"
        committed = killed_after(10**6, 0.0, folder, operation, blow=Blow("killed", operation))
        half_written += any(folder.glob(".*.tmp"))
        if committed or (folder / NAME).exists():
            trajectory = open_trajectory(folder)
            assert trajectory.length >= committed
            check(trajectory)
            lengths += trajectory.length
    assert half_written > OPERATIONS // 4 and lengths > OPERATIONS // 4


@pytest.mark.parametrize("kills", [KILLS, pytest.param(10 * KILLS, marks=pytest.mark.long)])
def test_killed_at_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int) -> None:
    monkeypatch.setattr(aadsl.trajectory.record.journal, "FLUSH_SECONDS", 0.0)
    moments = random.Random(0)
    opened = lengths = 0
    folder = tmp_path / "run-0"
    for kill in range(kills):
        if kill % 10 == 0:  # a new run, continued nine times after its crashes
            folder = tmp_path / f"run-{kill}"
        committed = killed_after(kill % 4, moments.uniform(0.0, 0.1), folder, kill)
        if committed or (folder / NAME).exists():
            trajectory = open_trajectory(folder)
            assert trajectory.length >= committed
            check(trajectory)
            opened += 1
            lengths += trajectory.length
    assert opened > kills // 2 and lengths > kills, "the kills came before anything happened"
