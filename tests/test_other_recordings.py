"""A study answers for what was opened, and for the end of the run: another recording or other weights are told."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.trajectory.store import files
from tests.digits import Recorded, images_and_labels, loss_fn, momentum_sgd, network, record
from tests.trajectory.loops import DATA, mean_loss, sgd, small_model, train

QUESTIONS: dict[str, Callable[[aadsl.Study], Any]] = {
    "score": lambda study: study.score(["early"], ["digits"], estimator="first_order"),
    "retrain": lambda study: study.retrain(["late"], ["digits"]),
    "step_effects": lambda study: study.step_effects(["digits"]),
    "plan": lambda study: study.plan(["early"], ["digits"]),
    "counterfactual": lambda study: study.counterfactual("late"),
    "verify_trajectory": lambda study: study.verify_trajectory(),
    "error_bound": lambda study: study.error_bound(["early"]),
    "shares": lambda study: study.shares(["early", "late"], ["digits"]),
}


def asked(path: Path, **options: Any) -> aadsl.Study:
    """Return a study that has answered once."""
    given = {"model": small_model(), "loss": mean_loss, "data": DATA} | options
    study = aadsl.Study(aadsl.open_trajectory(path), device="cpu", **given)
    study.stage("early", [2, 3])
    study.stage("late", [4])
    study.behavior("digits", "log_likelihood", on=DATA)
    study.retrain(["early"], ["digits"])
    return study


def recorded(path: Path, lr: float = 0.1, steps: int = 6, **options: Any) -> Path:
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with aadsl.Recorder(path, model, optimizer, DATA, **options) as recorder:
        train(recorder, model, optimizer, steps)
    return path


@contextmanager
def counted_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    read: list[Path] = []
    original = files.netCDF4.Dataset
    with monkeypatch.context() as patch:
        patch.setattr(
            files.netCDF4, "Dataset", lambda path, *rest, **more: (read.append(path), original(path, *rest, **more))[1]
        )
        yield read


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_a_run_that_is_recorded_anew_is_not_answered_for_the_old_one(tmp_path: Path, question: Any) -> None:
    study = asked(recorded(tmp_path / "run"))
    recorded(tmp_path / "run", lr=0.05, overwrite=True)
    for _ in range(2):
        with pytest.raises(aadsl.AadslError, match=r"recorded anew since it was opened(.|\n)*open it again"):
            question(study)
    with pytest.raises(aadsl.AadslError, match="recorded anew"):
        study.trajectory.to_netcdf(tmp_path / "copy.nc")
    assert asked(tmp_path / "run").retrain(["late"], ["digits"]).exact.all()


def test_one_file_that_is_written_anew_is_noticed(tmp_path: Path) -> None:
    first, second = (aadsl.open_trajectory(recorded(tmp_path / f"{lr}", lr=lr)) for lr in (0.1, 0.05))
    first.to_netcdf(tmp_path / "whole.nc")
    study = asked(tmp_path / "whole.nc")
    first.to_netcdf(tmp_path / "whole.nc")  # the same bytes
    QUESTIONS["retrain"](study)
    second.to_netcdf(tmp_path / "whole.nc")
    for _ in range(2):
        with pytest.raises(aadsl.AadslError, match="recorded anew since it was opened"):
            QUESTIONS["score"](study)


def test_a_state_of_another_run_in_the_place_of_one_is_noticed(tmp_path: Path) -> None:
    study = asked(recorded(tmp_path / "run"))
    other = recorded(tmp_path / "other", lr=0.05)
    (other / "state-6.nc").replace(tmp_path / "run" / "state-6.nc")
    with pytest.raises(aadsl.AadslError, match=r"state-6.nc changed"):
        QUESTIONS["retrain"](study)


def test_files_that_are_copied_over_themselves_are_the_same(tmp_path: Path) -> None:
    study = asked(recorded(tmp_path / "run"))
    for path in (tmp_path / "run").glob("*.nc"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        os.utime(path, (1, 1))
    assert QUESTIONS["retrain"](study).exact.all()


def test_a_run_that_is_still_recorded_is_answered_as_far_as_it_was_opened(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with aadsl.Recorder(tmp_path / "run", model, optimizer, DATA, states="all") as recorder:
        train(recorder, model, optimizer, 6)
        recorder.flush()
        study = asked(tmp_path / "run")
        train(recorder, model, optimizer, 3, first=6)
        recorder.flush()
        assert QUESTIONS["retrain"](study).sizes["step"] == 6
    assert QUESTIONS["retrain"](study).sizes["step"] == 6


def test_a_question_costs_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = asked(recorded(tmp_path / "run"))
    with counted_reads(monkeypatch) as read:
        study.trajectory.require_same()
    assert read == []


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_a_folder_that_was_moved_is_said_to_be_gone(tmp_path: Path, question: Any) -> None:
    study = asked(recorded(tmp_path / "run"))
    (tmp_path / "run").rename(tmp_path / "archived")
    with pytest.raises(aadsl.AadslError, match=r"run is gone: it was moved, deleted(.|\n)*open the trajectory again"):
        question(study)


def test_a_file_that_was_deleted_is_said_to_be_gone(tmp_path: Path) -> None:
    aadsl.open_trajectory(recorded(tmp_path / "run")).to_netcdf(tmp_path / "whole.nc")
    study = asked(tmp_path / "whole.nc")
    (tmp_path / "whole.nc").unlink()
    with pytest.raises(aadsl.AadslError, match=r"whole.nc is gone: it was moved, deleted"):
        QUESTIONS["retrain"](study)


# --- the weights of the model that was given


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


def with_weights(change: Callable[[Tensor], Tensor], net: nn.Module) -> nn.Module:
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(change(parameter))
    return other


def test_the_model_as_training_left_it_or_as_it_began_needs_no_note(run: Recorded) -> None:
    fresh = network()
    fresh.load_state_dict(run.start)
    for model in (run.net, fresh):
        study = run.study(model=model)
        assert study.notes == ()
        study.stage("early", [2])
        study.behavior("digits", "loss", on=(run.data[0][:20], run.data[1][:20]))
        assert "given_weights" not in study.retrain(["early"], ["digits"]).attrs
        assert "note:" not in str(study.plan(["early"], ["digits"]))


def test_other_weights_than_those_of_the_end_are_told(run: Recorded) -> None:
    averaged = with_weights(lambda weights: 0.9 * weights, run.net)
    study = run.study(model=averaged)
    (note,) = study.notes
    assert "other ones than those of the run's end" in note and "after 24 steps" in note and "SWA, EMA" in note
    study.stage("early", [2])
    study.behavior("digits", "loss", on=(run.data[0][:20], run.data[1][:20]))
    answer = study.retrain(["early"], ["digits"])
    assert answer.attrs["given_weights"] == note and f"note: {note}" in str(study.plan(["early"], ["digits"]))
    names = {"net": averaged, "loss_fn": loss_fn, "train": run.data}
    result = aadsl.run(f'load "{run.path}" with model=net, loss=loss_fn, data=train, device="cpu"', names)
    assert result.messages[1] == f"note: {note}"


def test_the_weights_of_an_earlier_step_are_told_by_its_number(run: Recorded) -> None:
    trajectory = aadsl.open_trajectory(run.path)
    step = trajectory.checkpoints[2]
    earlier = network()
    earlier.load_state_dict(trajectory.state(step).parameters)
    (note,) = run.study(model=earlier).notes
    assert f"those of step {step}: best weights were loaded" in note and f"say final={step}" in note


def test_best_weights_that_were_loaded_before_the_recorder_closed_are_told(tmp_path: Path) -> None:
    model = small_model()
    best = copy.deepcopy(model.state_dict())
    optimizer = sgd(model)
    with aadsl.Recorder(tmp_path / "run", model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 6)
        model.load_state_dict({name: value + 1 for name, value in best.items()})
    trajectory = aadsl.open_trajectory(tmp_path / "run")
    assert trajectory.closed and 6 not in trajectory.checkpoints
    (note,) = aadsl.Study(trajectory, model=model, loss=mean_loss, data=DATA, device="cpu").notes
    assert "wrote to the model after the last step" in note
    assert aadsl.Study(trajectory, model=small_model(), loss=mean_loss, data=DATA, device="cpu").notes == ()


def test_of_a_run_that_was_not_closed_the_end_is_not_known(tmp_path: Path) -> None:
    data = images_and_labels()
    net = network()
    optimizer = momentum_sgd(net)
    recorder = aadsl.Recorder(tmp_path / "run", net, optimizer, data)
    for _ in range(5):
        optimizer.zero_grad()
        loss_fn(net, (data[0][:10], data[1][:10])).backward()
        recorder.batch(indices=np.arange(10))
        optimizer.step()
    recorder.flush()
    trajectory = aadsl.open_trajectory(tmp_path / "run")
    assert trajectory.checkpoints[-1] < trajectory.length
    assert aadsl.Study(trajectory, model=net, loss=loss_fn, data=data, device="cpu").notes == ()
    recorder.close()
