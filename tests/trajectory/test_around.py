"""What real programs do around a recorder: copy the model, interrupt, fork, change their mind halfway."""

from __future__ import annotations

import copy
import enum
import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, same, sgd, small_model, train


def test_models_are_copied_and_saved_while_they_train(tmp_path: Path) -> None:
    model = small_model(norm=False)
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 2)
        copied = copy.deepcopy(model)
        averaged = torch.optim.swa_utils.AveragedModel(model)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        pickled = pickle.loads(pickle.dumps(model))
        copy.deepcopy(optimizer)
        for other in (copied, averaged, loaded, pickled):
            other(INPUTS).sum().backward()  # is no micro-batch of the run
        averaged.update_parameters(model)
        train(recorder, model, optimizer, 3, first=2)
    trajectory = open_trajectory(tmp_path)
    assert trajectory.steps["micro_batch_count"].values.tolist() == [1] * 5
    assert trajectory.verify(model=model, loss=mean_loss, data=DATA, device="cpu").ok


class Stopped(BaseException):
    """As a KeyboardInterrupt, but none of pytest's."""


@contextmanager
def stopped_at(line: int) -> Iterator[list[bool]]:
    """Interrupt at the n-th line of the recorder's modules in the main thread; tell whether it came there."""
    modules = ("recorder.py", "watch.py", "journal.py", "announcements.py", "writer.py")
    seen, happened = 0, [False]

    def local(frame: Any, event: str, arg: Any) -> Any:
        nonlocal seen
        seen += event == "line"
        if seen == line and not happened[0]:
            happened[0] = True
            raise Stopped
        return local

    def begin(frame: Any, event: str, arg: Any) -> Any:
        ours = frame.f_code.co_filename.endswith(tuple(f"trajectory/record/{module}" for module in modules))
        return local if ours and threading.current_thread() is threading.main_thread() else None

    sys.settrace(begin)
    try:
        yield happened
    finally:
        sys.settrace(None)


def go_on_after(line: int, folder: Path) -> tuple[bool, list[int], bool]:
    """Interrupt training once and go on, as in a notebook; return whether it came to that, steps, and refusal."""
    model = small_model(norm=False)
    optimizer = sgd(model, lr=0.05)
    recorder = Recorder(folder, model, optimizer, DATA, states=2)
    taken: list[int] = []
    refused = False
    with stopped_at(line) as happened:
        for step in range(6):
            rows = torch.arange(8) + 7 * step
            try:
                optimizer.zero_grad()
                mean_loss(model, (INPUTS[rows], TARGETS[rows])).backward()
                recorder.batch(indices=rows, number=step)
                optimizer.step()
                taken.append(step)
            except Stopped:
                continue
            except AadslError as error:
                assert "was interrupted halfway" in str(error) or "not announced" in str(error)
                refused = True
                break
        for _ in range(2):
            try:
                recorder.close()
                break
            except Stopped:
                continue
    recorder.close()
    return happened[0], taken, refused


@pytest.mark.parametrize("start", [0, *(pytest.param(start, marks=pytest.mark.long) for start in range(1, 23))])
def test_whatever_line_is_interrupted_what_is_recorded_is_true(tmp_path: Path, start: int) -> None:
    line, reached = 1 + start, True
    while reached:
        folder = tmp_path / str(line)
        reached, taken, refused = go_on_after(line, folder)
        trajectory = open_trajectory(folder)
        assert not [said for said in trajectory.violations() if not said.startswith("note")]
        numbers = trajectory.steps["number"].values.tolist() if trajectory.length else []
        # A step may be there whose optimizer.step() was interrupted when it was all but over; none is lost.
        assert set(taken) <= set(numbers) and numbers == sorted(set(numbers)), (line, numbers, taken)
        assert refused or len(numbers) >= 5, (line, numbers)
        for step, number in enumerate(numbers):
            assert trajectory.batch_indices(step).tolist() == list(range(7 * number, 7 * number + 8)), (line, step)
        options = {"model": small_model(norm=False), "loss": mean_loss, "data": DATA, "device": "cpu"}
        report = trajectory.verify(**options, samples=20)
        assert report.ok, (line, report)
        line += 23
    assert line > 500


def test_under_warn_no_error_of_the_recorder_reaches_the_loop(tmp_path: Path) -> None:
    model, plain = small_model(), small_model()
    optimizer, other = sgd(model), sgd(plain)
    recorder = Recorder(tmp_path, model, optimizer, DATA, on_error="warn")
    calls = []
    optimizer.register_step_pre_hook(lambda *given: calls.append(1))  # PyTorch goes through the hooks meanwhile
    with pytest.warns(UserWarning, match="was not announced"):
        train(None, model, optimizer, 3)
    train(None, plain, other, 3)
    recorder.close()
    assert len(calls) == 3 and same(model.state_dict(), plain.state_dict())


@pytest.mark.parametrize("policy", ["raise", "warn"])
def test_what_no_one_foresaw_is_told_by_the_policy(tmp_path: Path, monkeypatch: Any, policy: Any) -> None:
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, DATA, on_error=policy)
    train(recorder, model, optimizer, 2)
    monkeypatch.setattr(recorder._subject, "hyperparameters", lambda: 1 / 0)
    said = pytest.raises(AadslError, match="step 2 cannot be recorded: ZeroDivisionError")
    with pytest.warns(UserWarning, match="step 2 cannot be recorded: ZeroDivisionError") if policy == "warn" else said:
        train(recorder, model, optimizer, 1, first=2)
    recorder.close()
    assert open_trajectory(tmp_path).length == 2


def test_a_model_that_cannot_be_kept_leaves_the_folder_free(tmp_path: Path) -> None:
    model = small_model()
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    for _ in range(2):
        with pytest.raises(AadslError, match="step 0 cannot be recorded: RuntimeError"):
            Recorder(tmp_path, model, sgd(model))
        model(INPUTS).sum().backward()
    del model.sparse
    with Recorder(tmp_path, model, sgd(model)) as recorder:
        assert recorder.step == 0


def refused(folder: Path, change: Callable[[nn.Module, Any], None], said: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    recorder = Recorder(folder, model, optimizer, DATA)
    train(recorder, model, optimizer, 3)
    change(model, optimizer)
    dtype = model[0].weight.dtype
    mean_loss(model, (INPUTS.to(dtype), TARGETS)).backward()
    recorder.batch(indices=range(60))
    with pytest.raises(AadslError, match=said) as caught:
        optimizer.step()
    assert "begin another recorder" in str(caught.value)
    recorder.close()
    assert open_trajectory(folder).length == 3


def test_what_is_trained_may_not_change(tmp_path: Path) -> None:
    refused(
        tmp_path / "a", lambda model, _: model.double(), r'"0\.weight" was \(5, 6\) float32 .* \(5, 6\) float64 now'
    )
    added = {"params": small_model()[4].parameters()}
    refused(tmp_path / "b", lambda _, optimizer: optimizer.add_param_group(added), "another parameter group")


@pytest.mark.parametrize("change", ["best", "half"])
def test_what_was_put_into_the_model_after_the_last_step_is_no_state_of_the_run(tmp_path: Path, change: str) -> None:
    model = small_model(norm=False)
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 3)
        best = copy.deepcopy(model.state_dict())
        kept = train(recorder, model, optimizer, 4, first=3)
        if change == "best":
            model.load_state_dict(best)
        else:
            model.half()
    trajectory = open_trajectory(tmp_path)
    assert 7 not in trajectory.checkpoints
    study = aadsl.Study(trajectory, model=small_model(norm=False), loss=mean_loss, data=DATA, device="cpu")
    assert study.verify_trajectory().ok
    last = study.history.objective.parameters.named_views(study.history.final.parameters)
    assert torch.allclose(last["0.weight"], kept.states[-1]["0.weight"], atol=1e-6)


def test_closures_and_optimizers_that_look_twice(tmp_path: Path) -> None:
    model = small_model(norm=False)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = mean_loss(model, (INPUTS, TARGETS))
        loss.backward()
        return loss

    with Recorder(tmp_path / "lbfgs", model, optimizer, DATA) as recorder:
        for _ in range(3):
            recorder.batch(indices=range(60))
            optimizer.step(closure)
    trajectory = open_trajectory(tmp_path / "lbfgs")
    assert trajectory.steps["batch_size"].values.tolist() == [60] * 3 and not trajectory.violations()
    with Recorder(tmp_path / "sam", model, sgd(model), DATA) as recorder:
        recorder.batch(indices=range(60))
        for _ in range(2):  # as sharpness-aware minimization does
            model.zero_grad()
            mean_loss(model, (INPUTS, TARGETS)).backward()
            for weight in model.parameters():
                weight.data.add_(weight.grad)
        with pytest.raises(AadslError, match=r"step 0 was announced, but then its gradients[\s\S]*SAM"):
            recorder._subject.optimizers[0].step()


def run(program: str, folder: Path) -> str:
    """Run a program with a recorded loop of 3 steps at its beginning; return what it says."""
    begin = (
        "import os, sys, torch\nfrom aadsl.trajectory import Recorder\nfrom tests.trajectory.loops import *\n"
        "torch.set_num_threads(1)\nmodel = small_model(); optimizer = sgd(model)\n"
        "recorder = Recorder(sys.argv[1], model, optimizer, DATA)\ntrain(recorder, model, optimizer, 3)\n"
    )
    where = {"cwd": folder.parent, "env": {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}}
    command = [sys.executable, "-c", begin + program, folder.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **where)
    return done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_does_not_record(tmp_path: Path) -> None:
    said = run(
        "if not (child := os.fork()):\n"
        "    train(recorder, model, optimizer, 40, first=3); recorder.flush(); recorder.close(); os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "train(recorder, model, optimizer, 2, first=3); recorder.close()",
        tmp_path / "run",
    )
    assert said.strip().splitlines()[-1] == "7" and open_trajectory(tmp_path / "run").length == 5


def test_a_program_that_changes_its_folder_or_forgets_to_close(tmp_path: Path) -> None:
    assert run("os.chdir('/')\ntrain(recorder, model, optimizer, 4, first=3)", tmp_path / "run") == ""
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 7 and 7 in trajectory.checkpoints
    said = run("import shutil; recorder.flush(); shutil.rmtree(sys.argv[1])", tmp_path / "gone")
    assert "aadsl: recording into" in said and "Traceback" not in said


class Noisy(torch.utils.data.Dataset[Any]):
    """Draws from generators of its own."""

    def __init__(self) -> None:
        self.numpy, self.torch = np.random.default_rng(0), [torch.Generator().manual_seed(0)]

    def __len__(self) -> int:
        return 60

    def __getitem__(self, place: int) -> Any:
        noise = torch.rand(6, generator=self.torch[0]) + self.numpy.random()
        return INPUTS[place] + noise, TARGETS[place]


def test_looking_at_the_data_does_not_change_the_run(tmp_path: Path) -> None:
    plain, recorded = Noisy(), Noisy()
    model = small_model()
    with Recorder(tmp_path, model, sgd(model), recorded):
        pass
    for place in range(3):
        assert torch.equal(plain[place][0], recorded[place][0])


class Level(enum.StrEnum):
    HIGH = "high"


class Count(enum.IntEnum):
    TWO = 2


def test_values_of_other_classes_are_what_they_stand_for(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    given: dict[str, Any] = {"level": Level.HIGH, "count": Count.TWO, "half": torch.tensor([0.5], dtype=torch.bfloat16),
                             "array": np.array(3.0), "text": np.str_("a")}  # fmt: skip
    with Recorder(tmp_path, model, optimizer) as recorder:
        mean_loss(model, (INPUTS, TARGETS)).backward()
        recorder.batch(indices=[0], **given)
        optimizer.step()
    trajectory = open_trajectory(tmp_path)
    found = [trajectory.steps[name].item() for name in ("level", "count", "array", "text")]
    assert found == ["high", 2, 3.0, "a"] and trajectory.examples["half"].values.tolist() == [0.5]


def test_complex_parameters_and_batches(tmp_path: Path) -> None:
    weight = nn.Linear(3, 2, dtype=torch.complex128)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
    inputs = torch.randn(4, 3, dtype=torch.complex128)
    with Recorder(tmp_path, weight, optimizer, states="all") as recorder:
        for _ in range(2):
            weight(inputs).abs().sum().backward()
            recorder.batch(inputs)
            optimizer.step()
    trajectory = open_trajectory(tmp_path)
    assert not trajectory.violations() and torch.equal(trajectory.batch_tensors(1), inputs)
    assert torch.equal(trajectory.state(2).parameters["weight"], weight.weight)


def test_a_recording_without_steps_is_told_of(tmp_path: Path) -> None:
    model = small_model()
    Recorder(tmp_path, model, sgd(model), DATA).close()
    trajectory = open_trajectory(tmp_path)
    assert not trajectory.violations()
    with pytest.raises(AadslError, match="holds no steps"):
        aadsl.Study(trajectory, model=model, loss=mean_loss, data=DATA, device="cpu")
    report = trajectory.verify(model=model, loss=mean_loss, data=DATA, device="cpu")
    assert report.ok and "no step was replayed: there is none" in str(report)


class DataParallel(nn.Module):
    """A wrapper that is known by its name, and does not call the model in it as others do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module.forward(inputs)


def test_batches_that_are_split_over_gpus_are_refused_where_that_counts(tmp_path: Path) -> None:
    split, alike = nn.DataParallel(small_model()), nn.DataParallel(small_model(norm=False)[:3])
    for wrapper in (split, alike):
        wrapper.device_ids = [0, 1]  # as on a machine that has two
    with pytest.raises(
        AadslError, match=r"over 2 GPUs, on each of which BatchNorm1d has[\s\S]*DistributedDataParallel"
    ):
        Recorder(tmp_path, split, sgd(split))
    Recorder(tmp_path, alike, sgd(alike)).close()


def test_the_forward_of_a_wrapper_is_seen(tmp_path: Path) -> None:
    """It is what the loop calls; compiled models and those on several devices are such."""
    wrapper = DataParallel(small_model(dropout=0.5))
    optimizer = sgd(wrapper)
    torch.manual_seed(5)  # what verification begins with is another state
    with Recorder(tmp_path, wrapper, optimizer, DATA) as recorder:
        train(recorder, wrapper, optimizer, 6)
    assert open_trajectory(tmp_path).verify(small_model(dropout=0.5), mean_loss, DATA, device="cpu").ok
