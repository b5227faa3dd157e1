"""Bad input gets a clear error, and nothing recorded is lost."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, budget, every, open_trajectory
from aadsl.trajectory.record import writer as writer_module
from tests.trajectory.loops import DATA, INPUTS, sgd, small_model, train


def gradient_step(recorder: Recorder, model: nn.Module, optimizer: Any, **announcement: Any) -> None:
    optimizer.zero_grad()
    model(INPUTS).sum().backward()
    recorder.batch(**{"indices": [0], **announcement})
    optimizer.step()


def test_a_step_that_was_not_announced_does_not_happen(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 3)
        before = [parameter.clone() for parameter in model.parameters()]
        with pytest.raises(AadslError, match=r"step 3 was not announced[\s\S]*recorder\.batch"):
            optimizer.step()
        assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
        train(recorder, model, optimizer, 2, first=3)
    assert open_trajectory(tmp_path).length == 5


def test_an_exception_in_the_loop_leaves_a_readable_trajectory(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path, model, optimizer) as recorder:
        kept = train(recorder, model, optimizer, 5)
        recorder.batch(indices=[0])
        model(INPUTS)  # moves the running statistics: the model is no longer in the state before step 5
        raise ZeroDivisionError
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 5 and 5 not in trajectory.checkpoints
    last = trajectory.state(trajectory.checkpoints[-1])
    step = trajectory.checkpoints[-1]
    assert all(torch.equal(value, kept.states[step][name]) for name, value in last.buffers.items())


def test_an_optimizer_that_fails_inside_a_step_leaves_the_steps_before(tmp_path: Path) -> None:
    class Failing(torch.optim.SGD):
        fail = False

        def step(self, closure: Any = None) -> None:
            if self.fail:
                with torch.no_grad():
                    self.param_groups[0]["params"][0].zero_()
                raise RuntimeError("half a step")
            super().step(closure)

    model = nn.Linear(6, 3)
    optimizer = Failing(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="half a step"), Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 3)
        optimizer.fail = True
        train(recorder, model, optimizer, 1, first=3)
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 3 and 3 not in trajectory.checkpoints


def test_a_model_without_trainable_parameters(tmp_path: Path) -> None:
    model = small_model().requires_grad_(False)
    with pytest.raises(AadslError, match="no trainable parameters"):
        Recorder(tmp_path / "run", model, sgd(model))
    assert not (tmp_path / "run").exists()


def test_an_optimizer_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(AadslError, match=r"no parameter of the model"):
        Recorder(tmp_path, small_model(), sgd(nn.Linear(2, 2)))
    with pytest.raises(AadslError, match=r"a list, not a torch\.optim\.Optimizer"):
        Recorder(tmp_path, small_model(), [])


@pytest.mark.parametrize(
    ("announcement", "message"),
    [
        ({"lr": 0.1}, '"lr" is recorded already'),
        ({"batch_size": 3}, '"batch_size" is recorded already'),
        ({"momentum_1": 0.1}, '"momentum_1" is recorded already'),
        ({"train/loss": 0.1}, "'train/loss': netCDF takes letters, digits and _\ncall it train_loss"),
        ({"": 1}, "give it a name"),
        ({"late ": 1}, "call it late"),
        ({"n" * 201: 1}, "call it nnn"),
        ({"phase_labels": 1}, 'the names "phase" and "phase_labels"'),
        ({"tag": "a", "tag_labels": 1}, 'the names "tag" and "tag_labels"'),
        ({"tag_label": 1, "tag": "a"}, 'the names "tag" and "tag_label"'),
        ({"indices": [0, 1], "rng_cpu": [1, 2]}, "call it example_rng_cpu"),
        ({"tag": "a\0b"}, 'the text of "tag" has a character that cannot be stored'),
        ({"tag": ["\udc80"]}, 'the text of "tag" has a character that cannot be stored'),
        ({"many": 1 << 63}, '"many" is 9223372036854775808, which 64 bits do not hold'),
        ({"indices": [0, 1], "many": np.array([1, 1 << 63], dtype=np.uint64)}, "which 64 bits do not hold"),
        ({"indices": [0, 1], "tag": ["a", 1]}, '"tag" is text at some steps and a number at others'),
        ({"tag": 1j}, '"tag" is neither one value nor one for each of the 1 examples'),
        ({"tag": torch.tensor(1j)}, '"tag" is neither one value nor one for each of the 1 examples'),
        ({"tag": object()}, '"tag" is neither one value nor one for each of the 1 examples'),
        ({"tag": [1, 2, 3]}, '"tag" is neither one value nor one for each of the 1 examples'),
        ({"indices": [0, 60]}, "index 60 is outside the data of 60 examples"),
        ({"indices": [-1]}, "index -1 is outside"),
        ({"indices": [0.5]}, "indices are float64, not whole numbers"),
        ({"indices": torch.ones(2, requires_grad=True)}, "indices are float32, not whole numbers"),
        ({"indices": None, "tensors": ("a", b"b")}, "member 1 of the batch is a bytes"),
        (
            {"indices": None, "tensors": {"x": [{(1, 2): 3}]}},
            "x of the batch is a dict with a key that is a tuple",
        ),
        ({"indices": None, "tensors": nn.Linear(1, 1)}, "the batch is a Linear"),
        ({"indices": None, "tensors": np.array([object()])}, "the batch is an array of object"),
        (
            {"indices": None, "tensors": {"edges": torch.eye(2).to_sparse()}},
            "edges of the batch is a sparse tensor",
        ),
        ({"size": 3}, "size=3 is not the number of examples of the batch, and there are 1 indices"),
        ({"size": -1, "indices": None}, "size=-1 is not the number of examples of the batch"),
        ({"weight": float("nan")}, "weight=nan is no number that the loss of a micro-batch can be multiplied by"),
        ({"weight": "a"}, "weight='a' is no number"),
    ],
)
def test_what_cannot_be_announced(tmp_path: Path, announcement: dict[str, Any], message: str) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 2)
        with pytest.raises(AadslError, match="step 2: ") as caught:
            gradient_step(recorder, model, optimizer, **announcement)
        assert message in str(caught.value)
        gradient_step(recorder, model, optimizer)  # goes on with a proper one
    assert open_trajectory(tmp_path).length == 3


def test_metadata_that_changes_its_kind(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    for first, other in (("a", 1), (1.5, "a")):
        changed = pytest.raises(AadslError, match='"tag" is text at some steps and a number at others')
        with Recorder(tmp_path, model, optimizer, overwrite=True) as recorder:
            gradient_step(recorder, model, optimizer, tag=first, kind=[first])
            with changed:
                gradient_step(recorder, model, optimizer, tag=other)
            recorder.flush()
            gradient_step(recorder, model, optimizer, tag=first)
        with Recorder(tmp_path, model, optimizer) as recorder:  # continued: what was given before still counts
            with changed:
                gradient_step(recorder, model, optimizer, tag=other)
            with pytest.raises(AadslError, match='"kind" is text at some steps'):
                gradient_step(recorder, model, optimizer, kind=[other])
            gradient_step(recorder, model, optimizer, tag=first)
        trajectory = open_trajectory(tmp_path)
        assert trajectory.steps["tag"].values.tolist() == [first] * 3 and not trajectory.violations()


def test_missing_values_are_no_zeros_whatever_their_name(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for step in range(9):  # eight segments are merged into one
            told = {"vocab_size": 7, "my_size": [3]} if step == 1 else {}
            gradient_step(recorder, model, optimizer, **told)
            recorder.flush()
    trajectory = open_trajectory(tmp_path)
    for found in (trajectory.steps["vocab_size"], trajectory.examples["my_size"]):
        assert np.isnan(found.values).tolist() == [step != 1 for step in range(9)]


def test_parameters_that_are_not_finite(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, states=5)
    train(recorder, model, optimizer, 7)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(AadslError, match="not finite before step 10"):
        for _ in range(100):
            gradient_step(recorder, model, optimizer)
            recorder.flush()
    with pytest.raises(AadslError, match="not finite before step 10"):
        recorder.close()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.checkpoints == (0, 5) and trajectory.length >= 7


def test_buffers_may_be_infinite(tmp_path: Path) -> None:
    model = nn.Linear(6, 3)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 2)
    assert torch.equal(open_trajectory(tmp_path).state(2).buffers["mask"], model.mask)


def test_what_is_no_trajectory(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no")
    for path, message in [
        (tmp_path / "nothing", "does not exist"),
        (tmp_path / "empty", "holds no trajectory"),
        (tmp_path / "file.txt", "holds no trajectory"),
    ]:
        with pytest.raises(AadslError, match=message):
            open_trajectory(path)
    with pytest.raises(AadslError, match="no path"):
        open_trajectory([])


def test_what_steps_an_optimizer_within_it_is_told_from_a_wrapper(tmp_path: Path) -> None:
    """It moves the weights itself (schedulefree's ScheduleFreeWrapper does): its optimizer's steps are not all."""

    class Moving:
        def __init__(self, base: torch.optim.Optimizer) -> None:
            self.base, self.param_groups, self.step = base, base.param_groups, base.step

    model = small_model()
    with pytest.raises(AadslError, match=r"the optimizer is a Moving.*\n.*beside the optimizer within it"):
        Recorder(tmp_path, model, Moving(sgd(model)))
    with pytest.raises(AadslError, match=r"the optimizer is a Linear.*\n.*whose step\(\) the training loop calls"):
        Recorder(tmp_path, model, torch.nn.Linear(1, 1))


def test_a_state_that_is_not_stored(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, states=5) as recorder:
        train(recorder, model, optimizer, 8)
    trajectory = open_trajectory(tmp_path)
    with pytest.raises(AadslError, match=r"before step 7 is not stored\nthe one before it is 5"):
        trajectory.state(7)
    for call in (trajectory.hyperparameters, trajectory.batch_indices, trajectory.micro_batches, trajectory.training):
        for step in (8, -1):
            with pytest.raises(AadslError, match=f"no step {step}: the trajectory has steps 0 … 7"):
                call(step)


@pytest.mark.parametrize("make", [lambda: every(0), lambda: every(1.5), lambda: budget("much"), lambda: budget("5 XB")])
def test_plans_that_are_none(make: Any) -> None:
    with pytest.raises(AadslError):
        make()


def test_unknown_plan_and_clip(tmp_path: Path) -> None:
    model = small_model()
    for options in ({"states": "some"}, {"states": 0}, {"clip": -1.0}, {"clip": "norm"}):
        with pytest.raises(AadslError):
            Recorder(tmp_path, model, sgd(model), **options)


def test_a_budget_too_small(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, states=budget(100))
    with pytest.raises(AadslError, match="does not hold three states"):
        recorder.flush()
    with pytest.raises(AadslError, match="does not hold three states"):
        recorder.close()


def test_declared_accumulation_is_checked(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, accumulate=2)
    with pytest.raises(AadslError, match="took 1 micro-batches, accumulate=2 was declared"):
        gradient_step(recorder, model, optimizer)
    recorder.close()


def test_two_recorders_on_one_folder(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    first = Recorder(tmp_path, model, optimizer)
    train(first, model, optimizer, 3)
    second = Recorder(tmp_path, model, optimizer)  # of a cell that is run again: it goes on
    assert second.step == 3
    train(second, model, optimizer, 2, first=3)
    with pytest.raises(AadslError, match=r"another recorder of this process took .* over"):
        first.batch(indices=[0])
    first.close()
    gradient_step(second, model, optimizer)
    anew = Recorder(tmp_path, model, optimizer, overwrite=True, on_error="warn")
    train(anew, model, optimizer, 1)
    Recorder(tmp_path, model, optimizer).close()
    with pytest.warns(UserWarning, match="another recorder of this process"):
        anew.batch(indices=[0])
    anew.batch(indices=[0])
    assert open_trajectory(tmp_path).length == 1


@pytest.mark.parametrize("loss", [torch.tensor(torch.inf), float("nan")])
def test_a_loss_that_is_not_finite_is_kept_and_training_goes_on(tmp_path: Path, loss: Any) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for step in range(4):  # mixed precision skips the step of such a loss
            model(INPUTS).sum().backward()
            recorder.batch(indices=[step], loss=loss if step == 1 else 1.0)
            if step != 1:
                optimizer.step()
            optimizer.zero_grad()
        model(INPUTS).sum().backward()
        recorder.batch(indices=[4], loss=loss)
        optimizer.step()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.steps["loss"].values[:-1].tolist() == [1.0] * 3
    assert not np.isfinite(trajectory.steps["loss"].values[-1]) and trajectory.batch_indices(1).tolist() == [2]


def disk_full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str) -> None:
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, states=3, on_error=on_error)
    train(recorder, model, optimizer, 4)
    recorder.flush()
    monkeypatch.setattr(os, "fsync", disk_full)

    def go_on() -> None:
        for _ in range(3):
            train(recorder, model, optimizer, 3, first=4)
            recorder.flush()

    if on_error == "raise":
        with pytest.raises(AadslError, match=r"No space left on device[\s\S]*stays readable"):
            go_on()
        with pytest.raises(AadslError, match="No space left"):
            recorder.close()
    else:
        with pytest.warns(UserWarning, match=r"No space left on device[\s\S]*training goes on"):
            go_on()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recorder.close()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 4 and trajectory.checkpoints == (0, 3)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("mask", [[], [True]])  # a buffer of one byte: then the netCDF library writes the states
def test_a_quota(tmp_path: Path, mask: list[bool]) -> None:
    """The system refuses files beyond a size; the reason is said, not that some library failed."""
    resource = pytest.importorskip("resource")
    model = nn.Linear(300, 300)
    model.register_buffer("mask", torch.tensor(mask, dtype=torch.bool))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(tmp_path, model, optimizer, states=2)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, usual[1]))
    try:
        with pytest.raises(AadslError, match=r"File too large[\s\S]*stays readable"), recorder:
            for _ in range(3):
                recorder.batch(indices=[0])
                model(torch.ones(1, 300)).mean().backward()
                optimizer.step()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_real_full_device(tmp_path: Path) -> None:
    """/dev/full refuses every write, below any Python."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from aadsl.trajectory.store.files import commit

    (tmp_path / ".x.nc.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError):
        commit(tmp_path / "x.nc", {}, lambda dataset: None)
    assert not (tmp_path / "x.nc").exists()


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, on_error: str) -> None:
    (tmp_path / "file").write_text("in the way")
    model = small_model()
    optimizer = sgd(model)
    if on_error == "raise":
        with pytest.raises(AadslError, match="cannot record into"):
            Recorder(tmp_path / "file" / "run", model, optimizer)
        return
    with pytest.warns(UserWarning, match="training goes on"):
        recorder = Recorder(tmp_path / "file" / "run", model, optimizer, on_error="warn")
    train(recorder, model, optimizer, 2)
    recorder.close()


def test_an_unannounced_step_does_not_bring_a_warned_run_down(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, on_error="warn")
    train(recorder, model, optimizer, 3)
    with pytest.warns(UserWarning, match="step 3 was not announced"):
        optimizer.step()
    train(recorder, model, optimizer, 2)
    recorder.close()
    assert open_trajectory(tmp_path).length == 3


def test_memory_is_bounded_by_making_training_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    gate, done = threading.Event(), []
    writer = writer_module.Writer()
    state = 5 * writer_module.PENDING_BYTES
    for held in (state, state, writer_module.PENDING_BYTES):
        writer.put(gate.wait, nbytes=held)
    blocked = threading.Thread(target=lambda: (writer.put(lambda: None, nbytes=1), done.append(True)))
    blocked.start()
    blocked.join(0.1)
    assert not done, "a job was taken while the memory was full"
    gate.set()
    blocked.join(600)
    assert done
    writer.close()
