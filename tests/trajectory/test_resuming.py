"""A run goes on where its model stands; its own future is overwritten only with a word."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch

from aadsl.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
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
