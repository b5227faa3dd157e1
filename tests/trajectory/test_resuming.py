"""A run goes on where its model stands; its own future is overwritten only with a word."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
from aadsl.trajectory.record import journal
from aadsl.trajectory.store.segments import Segment
from tests.trajectory.loops import same, sgd, small_model, train


def test_closed_and_reopened_is_one_run(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path / "twice", model, optimizer, states=3) as recorder:
        kept = train(recorder, model, optimizer, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Recorder(tmp_path / "twice", model, optimizer, states=3) as recorder:
            assert recorder.step == 5
            train(recorder, model, optimizer, 4, kept=kept, seed=9, first=5)
    trajectory = open_trajectory(tmp_path / "twice")
    assert trajectory.length == 9 and trajectory.checkpoints == (0, 3, 5, 6, 9)
    assert [(phase.start, phase.stop) for phase in trajectory.phases] == [(0, 9)]
    assert same(trajectory.state(9).parameters, {n: p.detach() for n, p in model.named_parameters()})
    assert [trajectory.batch_indices(t).tolist() for t in range(9)] == [indices.tolist() for indices in kept.indices]


def test_a_new_optimizer_is_a_new_phase(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 3)
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 2, first=3)
    trajectory = open_trajectory(tmp_path)
    assert [(phase.start, phase.resets_optimizer) for phase in trajectory.phases] == [(0, True), (3, True)]
    assert trajectory.state(3).optimizer == {}


def test_resuming_from_an_earlier_state_overwrites_the_future_and_says_so(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    checkpoint = None
    with Recorder(tmp_path, model, optimizer, states=4) as recorder:
        train(recorder, model, optimizer, 8)
        checkpoint = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        train(recorder, model, optimizer, 3, first=8)
    model.load_state_dict(checkpoint[0])
    optimizer.load_state_dict(checkpoint[1])
    with pytest.warns(UserWarning, match=r"goes on from step 8; the recorded steps 8 … 10 are overwritten"):
        recorder = Recorder(tmp_path, model, optimizer, states=4)
    kept = train(recorder, model, optimizer, 2, seed=77, first=8)
    recorder.close()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 10 and trajectory.checkpoints == (0, 4, 8, 10)
    assert trajectory.batch_indices(9).tolist() == kept.indices[1].tolist()
    assert trajectory.steps["loss"].values[8:].tolist() == pytest.approx(kept.losses)


def test_resuming_inside_a_segment_from_a_checkpoint_of_ones_own(tmp_path: Path) -> None:
    model = small_model(dropout=0.2)
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, states=10) as recorder:
        kept = train(recorder, model, optimizer, 7)
        checkpoint = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        train(recorder, model, optimizer, 6, first=7)
    model.load_state_dict(checkpoint[0])
    optimizer.load_state_dict(checkpoint[1])
    with pytest.raises(AadslError, match=r"at no stored state[\s\S]*step=…"):
        Recorder(tmp_path, model, optimizer)
    with pytest.warns(UserWarning, match="steps 7 … 12"):
        recorder = Recorder(tmp_path, model, optimizer, step=7, states=10)
    train(recorder, model, optimizer, 1, first=7, seed=5)
    recorder.close()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 8 and trajectory.checkpoints == (0, 7, 8)
    assert [trajectory.batch_indices(t).tolist() for t in range(7)] == [i.tolist() for i in kept.indices]
    assert all(torch.equal(trajectory.rng_state(t), kept.generators[t]) for t in range(7))


def test_starting_over_needs_a_word(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 5)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.glob("*.nc"))
    again = small_model()  # the same initial state, as a script that is run twice has
    with pytest.raises(AadslError, match="overwrite=True"):
        Recorder(tmp_path, again, sgd(again))
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.glob("*.nc")) == before
    optimizer = sgd(again)
    with Recorder(tmp_path, again, optimizer, overwrite=True) as recorder:
        train(recorder, again, optimizer, 2)
    assert open_trajectory(tmp_path).length == 2 and open_trajectory(tmp_path).checkpoints == (0, 1, 2)


def test_another_model_or_optimizer_cannot_go_on(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 2)
    with pytest.raises(AadslError, match="recorded with SGD, not Adam"):
        Recorder(tmp_path, model, torch.optim.Adam(model.parameters()))
    with pytest.raises(AadslError, match=r"other parameters: 1\.bias, 1\.weight"):
        other = small_model(norm=False)
        Recorder(tmp_path, other, sgd(other))


def lose_steps(folder: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record 8 steps and die between two commits: batches and states are there, the steps after ``length`` are not."""
    model, optimizer = fresh()
    recorder = Recorder(folder, model, optimizer, states="all", on_error="warn")
    step_on(recorder, model, optimizer, range(length))
    recorder.flush()
    append = journal.append

    def dying(where: Path, segment: Segment, *rest: Any) -> None:
        if segment.kind == "steps":
            raise OSError("as if it was killed")
        append(where, segment, *rest)

    with monkeypatch.context() as patched, pytest.warns(UserWarning, match="as if it was killed"):
        patched.setattr(journal, "append", dying)
        step_on(recorder, model, optimizer, range(length, 8))
        recorder.flush()
    recorder.close()  # nothing is written any more: it stops watching what goes on in this process
    assert (folder / f"batches-{length}-8.nc").exists() and (folder / "state-7.nc").exists()


def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model, torch.optim.SGD(model.parameters(), lr=0.5)


def step_on(recorder: Recorder, model: nn.Module, optimizer: torch.optim.Optimizer, numbers: Iterable[int]) -> None:
    """Take steps of which each moves the weights by its number."""
    for number in numbers:
        optimizer.zero_grad()
        model(torch.full((1, 2), float(number))).sum().backward()
        recorder.batch(indices=[number], number=number)
        optimizer.step()


@pytest.mark.parametrize("flushed", [False, True])
def test_what_a_killed_recorder_left_behind_is_no_part_of_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flushed: bool
) -> None:
    lose_steps(tmp_path, 4, monkeypatch)
    model, optimizer = fresh()
    with torch.no_grad():
        model.weight -= 0.5 * sum(range(4))
    recorder = Recorder(tmp_path, model, optimizer, states=50)
    assert recorder.step == 4
    for number in range(104, 107):
        step_on(recorder, model, optimizer, [number])
        if flushed:
            recorder.flush()
    recorder.close()
    trajectory = open_trajectory(tmp_path)
    numbers = [0, 1, 2, 3, 104, 105, 106]
    assert trajectory.steps["number"].values.tolist() == numbers and not trajectory.violations()
    assert [trajectory.batch_indices(step).tolist() for step in range(7)] == [[number] for number in numbers]
    for step in trajectory.checkpoints:
        assert trajectory.state(step).parameters["weight"].tolist() == [[-0.5 * sum(numbers[:step])] * 2], step


def test_overwriting_the_future_may_be_interrupted_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink
    for deletions in range(20):
        folder = tmp_path / str(deletions)
        model, optimizer = fresh()
        with Recorder(folder, model, optimizer, states=3) as recorder:
            step_on(recorder, model, optimizer, range(6))
            checkpoint = copy.deepcopy(model.state_dict())
            step_on(recorder, model, optimizer, range(6, 12))
        model.load_state_dict(checkpoint)
        allowed = deletions

        def dying(path: Path, missing_ok: bool = False) -> None:
            nonlocal allowed
            if path.suffix == ".nc":
                if not allowed:
                    raise OSError("as if it was killed")
                allowed -= 1
            unlink(path, missing_ok)

        with monkeypatch.context() as patched, pytest.warns(UserWarning, match="goes on from step 6"):
            patched.setattr(Path, "unlink", dying)
            with contextlib.suppress(AadslError):
                Recorder(folder, model, optimizer, states=3).close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recorder = Recorder(folder, model, optimizer, states=3)
        assert recorder.step == 6
        step_on(recorder, model, optimizer, range(106, 115))
        recorder.close()
        trajectory = open_trajectory(folder)
        numbers = [*range(6), *range(106, 115)]
        assert trajectory.steps["number"].values.tolist() == numbers and not trajectory.violations()
        assert [trajectory.batch_indices(step).tolist() for step in range(15)] == [[number] for number in numbers]
        if allowed:
            break
    assert deletions > 3


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"clip": 1.0}, {}, "clip="),
        ({"clip": 1.0}, {"clip": 2.0}, "clip="),
        ({"accumulate": 1}, {"accumulate": 2}, "accumulate="),
        ({"data": (torch.zeros(9, 2), torch.zeros(9))}, {"data": (torch.ones(9, 2), torch.zeros(9))}, "data"),
    ],
)
def test_a_run_goes_on_under_the_same_promises(tmp_path: Path, first: Any, second: Any, what: str) -> None:
    model, optimizer = fresh()
    with Recorder(tmp_path, model, optimizer, **first) as recorder:
        step_on(recorder, model, optimizer, range(3))
    with pytest.raises(AadslError, match=f"was recorded with other {what}\nrecord into a new folder"):
        Recorder(tmp_path, model, optimizer, **second)
    with Recorder(tmp_path, model, optimizer, **first) as recorder:  # the folder is free, the run as it was
        step_on(recorder, model, optimizer, range(3, 5))
    assert open_trajectory(tmp_path).length == 5


@pytest.mark.parametrize("step", [1.5, "2", True])
def test_a_step_is_a_whole_number(tmp_path: Path, step: Any) -> None:
    model, optimizer = fresh()
    with Recorder(tmp_path, model, optimizer) as recorder:
        step_on(recorder, model, optimizer, range(3))
    with pytest.raises(AadslError, match="step must be a whole number"):
        Recorder(tmp_path, model, optimizer, step=step)
    assert open_trajectory(tmp_path).length == 3


def test_where_no_run_is_none_is_continued(tmp_path: Path) -> None:
    with pytest.raises(AadslError, match=r"step=7, but .* holds no run to continue"):
        Recorder(tmp_path, *fresh(), step=7)
    Recorder(tmp_path, *fresh(), step=0).close()
