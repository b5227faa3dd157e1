"""A disk that fills: what was recorded up to then can be read, and that is what the message says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
from aadsl.trajectory.record import reserve
from aadsl.trajectory.store import files
from tests.trajectory.loops import DATA, mean_loss, sgd, small_model, train


def disk_full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def disk_of(folder: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file be committed into ``folder`` with which it would hold more than ``size`` bytes."""
    replacing = files._replacing

    @contextmanager
    def limited(path: Path) -> Iterator[Path]:
        with replacing(path) as temporary:
            yield temporary
            held = {file.name: file.stat().st_size for file in folder.iterdir() if file.name != path.name}
            if sum(held.values()) > size:
                disk_full()

    monkeypatch.setattr(files, "_replacing", limited)


@pytest.mark.parametrize(("states", "least"), [("sqrt", 70_000), ("all", 180_000)])
def test_wherever_a_disk_fills_every_step_taken_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: str, least: int
) -> None:
    """The disk is full at one write and another; a state that finds no room takes no step with it."""
    lengths = []
    for room in range(least, 1_800_000, 220_000):
        folder = tmp_path / str(room)
        with monkeypatch.context() as patch:
            disk_of(folder, reserve.SIZE + room, patch)
            model = small_model()
            optimizer = sgd(model)
            taken: list[bool] = []
            optimizer.register_step_post_hook(lambda *_, taken=taken: taken.append(True))
            message = r"No space left on device[\s\S]*stays readable"
            with (
                pytest.raises(AadslError, match=message),
                Recorder(folder, model, optimizer, DATA, states=states) as recorder,
            ):
                while True:
                    train(recorder, model, optimizer, 1, first=len(taken))
                    recorder.flush()
        trajectory = open_trajectory(folder)
        assert trajectory.closed and trajectory.length == len(taken)
        assert trajectory.verify(small_model(), mean_loss, DATA, device="cpu").ok
        assert not [*folder.glob(".*.tmp"), *folder.glob(reserve.NAME)]
        lengths.append(len(taken))
    assert lengths == sorted(lengths) and lengths[0] < 3 < 10 < lengths[-1]


def test_a_disk_that_filled_meanwhile_is_told_at_the_batch_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, DATA)
    train(recorder, model, optimizer, 2)
    monkeypatch.setattr(files, "_replacing", disk_full)
    recorder._loop.commit(True)
    recorder._journal.flush()
    with pytest.raises(AadslError, match=r"step 2: .*No space left on device") as caught:
        recorder.batch(indices=[0, 1])
    assert [problem.hint for problem in caught.value.problems] == ["what was committed before stays readable"]
    with pytest.raises(AadslError, match="No space left on device"):
        recorder.close()


def test_a_disk_without_room_for_a_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.trajectory.record.reserve.os.fsync", disk_full)
    held = reserve.Reserve(tmp_path)
    assert not list(tmp_path.iterdir()) and not held.release()
