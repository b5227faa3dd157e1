"""Work on one run spread over processes, threads and a Dask cluster, against the same work done here."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import aadsl
from aadsl.core.progress import silent
from aadsl.data.examples import Examples
from aadsl.errors import AadslError
from aadsl.estimators.retraining import ends
from aadsl.interventions import INTERVENTIONS
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.replayed.parcels import Parcel, perform, pickled, unpickled
from aadsl.replayed.run_spec import RunSpec, SentRecording
from aadsl.replayed.workers import Workers
from tests import forkserver
from tests.digits import STEPS, Recorded, loss_fn, network, record
from tests.reconstruction import loops

STAGES = [range(2, 5), range(7, 8), range(10, 20), range(0, 24, 3)]


def counterfactual_end(history: History, stage: range) -> Tensor:
    """Return ζ_T of a run that skips a stage."""
    member = np.isin(np.arange(history.length), stage)
    (end,) = ends(history, member[None], INTERVENTIONS["skip"](), Execution())
    return end.state.parameters


@dataclass(frozen=True)
class Killed:
    """An item whose worker dies at the first try, or always, if it is one of those that are killed."""

    stage: range
    mark: Path
    always: bool = False


def dying(history: History, item: Killed) -> Tensor:
    if item.always or not item.mark.exists():
        item.mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return counterfactual_end(history, item.stage)


def refused(history: History, item: int) -> None:
    raise AadslError(f"no {item} in {history.length} steps", hint="take another")


def process(history: History, item: int) -> tuple[int, int, int]:
    return os.getpid(), id(history), torch.get_num_threads()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("run") / "digits")


@pytest.fixture(scope="module")
def spec(run: Recorded) -> RunSpec:
    return RunSpec(aadsl.open_trajectory(run.path), run.net, loss_fn, run.data, "cpu")


@pytest.fixture(scope="module")
def truth(spec: RunSpec) -> list[Tensor]:
    history = spec.history()
    return [counterfactual_end(history, stage) for stage in STAGES]


@pytest.fixture(scope="module")
def local(spec: RunSpec) -> Iterator[Workers]:
    workers = Workers(spec, count=2)
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def mortal(spec: RunSpec) -> Iterator[Workers]:
    """A process of its own for tests that kill it, so that others need not start theirs anew."""
    workers = Workers(spec, count=1)
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=forkserver.context()) as pool:
        yield pool


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    with forkserver.cluster() as executor:
        yield executor


@pytest.fixture
def workers(request: pytest.FixtureRequest, spec: RunSpec) -> Iterator[Workers]:
    """Workers of the kind that a test is parametrized with."""
    kind = request.param
    if kind in ("local", "mortal"):
        yield request.getfixturevalue(kind)
    elif kind == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield Workers(spec, pool)
    else:
        yield Workers(spec, request.getfixturevalue(kind))


everywhere = pytest.mark.parametrize("workers", ["local", "processes", "threads", "cluster"], indirect=True)


@everywhere
def test_the_numbers_are_those_of_one_process(workers: Workers, truth: list[Tensor]) -> None:
    told = []
    found = dict(workers.map(counterfactual_end, STAGES, lambda *said: told.append(said), "retraining"))
    assert sorted(found) == list(range(len(STAGES)))
    assert all(torch.equal(found[position], expected) for position, expected in enumerate(truth))
    assert not torch.equal(truth[0], truth[1])
    counts = [done for what, done, total in told if (what, total) == ("retraining", len(STAGES))]
    assert len(counts) == len(told) and counts == sorted(counts)
    assert {*counts} == {*range(len(STAGES) + 1)}


@everywhere
def test_an_error_of_the_task_arrives_as_it_is(workers: Workers) -> None:
    with pytest.raises(AadslError) as caught:
        list(workers.map(refused, [3], silent))
    assert [(p.message, p.hint) for p in caught.value.problems] == [(f"no 3 in {STEPS} steps", "take another")]


class Unportable(Exception):  # noqa: N818
    """An error whose copy cannot be made from what it was made of."""

    def __init__(self, name: str, place: int) -> None:
        super().__init__(f"{name} at {place}")


def stumbling(history: History, item: int) -> None:
    raise Unportable("a label", item) if item else ValueError("no labels")


@pytest.mark.parametrize("workers", ["local", "processes", "cluster"], indirect=True)
def test_an_error_of_the_users_code_is_no_killed_worker(workers: Workers) -> None:
    with pytest.raises(ValueError, match="no labels") as caught:
        list(workers.map(stumbling, [0], silent))
    assert str(caught.value) == "no labels" and "in stumbling" in caught.value.__notes__[0]
    # Where tblib was loaded first (Dask does), such errors can be copied after all.
    with pytest.raises((AadslError, Unportable), match="a label at 11"):
        list(workers.map(stumbling, [11], silent))


@pytest.mark.parametrize("workers", ["mortal", "cluster"], indirect=True)
def test_what_a_killed_worker_had_is_done_again(workers: Workers, truth: list[Tensor], tmp_path: Path) -> None:
    marks = [tmp_path / str(position) for position in range(len(STAGES))]
    for mark in marks[:1] + marks[2:]:
        mark.touch()
    items = [Killed(stage, mark) for stage, mark in zip(STAGES, marks, strict=True)]
    found = dict(workers.map(dying, items, silent))
    assert marks[1].exists()
    assert all(torch.equal(found[position], expected) for position, expected in enumerate(truth))


@pytest.mark.parametrize("workers", ["mortal", "cluster"], indirect=True)
def test_who_kills_each_worker_is_given_up(workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.replayed.executors.FRESH_POOLS", 1)
    with pytest.raises(AadslError, match="memory"):
        list(workers.map(dying, [Killed(STAGES[0], tmp_path / "mark", always=True)], silent))


def test_a_given_executor_that_broke_says_so(spec: RunSpec, truth: list[Tensor], tmp_path: Path) -> None:
    found: dict[int, Tensor] = {}
    (tmp_path / "fine").touch()
    items = [Killed(STAGES[0], tmp_path / "fine"), Killed(STAGES[1], tmp_path / "killed")]
    with ProcessPoolExecutor(1, mp_context=forkserver.context()) as pool:
        workers = Workers(spec, pool)
        for _ in range(2):  # the second time it is broken from the beginning
            with pytest.raises(AadslError, match="ProcessPoolExecutor that was given stopped working"):
                for position, end in workers.map(dying, items, silent):
                    found |= {position: end}
    assert torch.equal(found[0], truth[0]) and len(found) == 1


def test_an_executor_that_was_shut_down_says_so(spec: RunSpec) -> None:
    with ThreadPoolExecutor(1) as pool:
        workers = Workers(spec, pool)
    with pytest.raises(AadslError, match=r"stopped working .*after shutdown"):
        list(workers.map(process, [0], silent))


def test_what_progress_raises_calls_off_what_has_not_begun(spec: RunSpec, processes: Executor, tmp_path: Path) -> None:
    marks, workers = [tmp_path / str(i) for i in range(8)], Workers(spec, processes)

    def interrupted(what: str, done: int, total: int) -> None:
        if sum(mark.exists() for mark in marks) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(workers.map(waiting, marks, interrupted))
    for mark in marks:
        mark.with_suffix(".go").touch()
    assert len(list(workers.map(process, [0, 1], silent))) == 2  # the executor is free again
    assert sum(mark.exists() for mark in marks) == 2  # nor did it begin what its processes had taken ahead


def waiting(history: History, mark: Path) -> None:
    mark.touch()
    while not mark.with_suffix(".go").exists():
        time.sleep(0.01)


def test_local_processes_end_when_their_work_is_called_off(spec: RunSpec, tmp_path: Path) -> None:
    workers = Workers(spec, count=1)
    answers = workers.map(told_then_waiting, [tmp_path / "told", tmp_path / "waits"], silent)
    _, worker = next(answers)
    answers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def told_then_waiting(history: History, mark: Path) -> int:
    if mark.name != "told":
        waiting(history, mark)
    return os.getpid()


@pytest.mark.parametrize("workers", ["local", "processes"], indirect=True)
def test_a_process_opens_a_run_once_with_one_thread(workers: Workers) -> None:
    seen = [result for _ in range(3) for _, result in workers.map(process, range(6), silent)]
    assert {threads for _, _, threads in seen} == {1}
    assert len({(worker, history) for worker, history, _ in seen}) == len({worker for worker, _, _ in seen}) <= 2
    assert os.getpid() not in {worker for worker, _, _ in seen}


def test_threads_take_turns_on_a_run_of_their_own(spec: RunSpec) -> None:
    with ThreadPoolExecutor(3) as pool:
        seen = [result for _, result in Workers(spec, pool).map(alone, range(6), silent)]
    assert seen == [True] * 6


_inside = threading.Lock()


def alone(history: History, item: int) -> bool:
    with _inside if not _inside.locked() else pytest.fail("two at once"):
        time.sleep(0.01)
        return True


def test_a_large_run_goes_through_one_file(
    run: Recorded, spec: RunSpec, truth: list[Tensor], processes: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = Parcel.of(spec, run.path.parent)
    assert parcel.content is None and Path(parcel.path).parent == run.path.parent
    assert len(pickle.dumps(parcel)) < 1000
    assert torch.equal(pickle.loads(perform(parcel, pickled((counterfactual_end, STAGES[0])))), truth[0])
    Path(parcel.path).write_bytes(b"other")
    with pytest.raises(AadslError, match="has changed on its way"):
        parcel.read()
    parcel.remove()
    with pytest.raises(AadslError, match=r"do not see .*\n.*put the run into a folder"):
        parcel.read()
    assert len(list(Workers(spec, processes).map(process, [0], silent))) == 1
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


def test_a_chain_of_runs_with_data_by_run(run: Recorded, tmp_path: Path, processes: Executor) -> None:
    other = record(tmp_path / "second")
    chain = aadsl.open_trajectory([run.path, other.path])
    spec = RunSpec(chain, run.net, loss_fn, {str(run.path): run.data, str(other.path): other.data}, "cpu")
    ((_, found),) = Workers(spec, processes).map(counterfactual_end, [range(3, 30)], silent)
    assert torch.equal(found, counterfactual_end(spec.history(), range(3, 30)))


def test_another_recording_in_its_place_gets_other_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has the run of before open, and does not answer from it."""

    def answer(spec: RunSpec) -> Tensor:
        return pickle.loads(perform(Parcel.of(spec, tmp_path), pickled((start, 0))))

    recorded = record(tmp_path / "run")
    before = RunSpec(aadsl.open_trajectory(recorded.path), recorded.net, loss_fn, recorded.data, "cpu")
    first = answer(before)
    recorded.path.rename(tmp_path / "away")
    monkeypatch.setattr("tests.digits.network", lambda dtype: network(dtype, seed=4))
    again = replace(before, trajectory=aadsl.open_trajectory(record(recorded.path).path))
    second = answer(again)
    assert torch.equal(second, start(again.history(), 0)) and not torch.equal(first, second)
    with pytest.raises(AadslError, match=r"another recording at .* has changed since"):
        answer(before)


def start(history: History, item: int) -> Tensor:
    return history.state(0).parameters


@pytest.mark.parametrize("workers", ["local", "processes", "cluster"], indirect=True)
def test_workers_that_do_not_see_the_run(workers: Workers, tmp_path: Path) -> None:
    """The run is moved away; to a worker on another machine it looks the same."""
    recorded = record(tmp_path / "run")
    trajectory = aadsl.open_trajectory(recorded.path)
    sent = SentRecording.of(trajectory)
    recorded.path.rename(tmp_path / "elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SentRecording, "of", lambda trajectory: sent)
        workers.spec, spec = RunSpec(trajectory, recorded.net, loss_fn, recorded.data, "cpu"), workers.spec
        with pytest.raises(AadslError, match=r"the workers do not see .*run\nput it where all machines can read it"):
            list(workers.map(start, [0], silent))
        workers.spec = spec


@pytest.mark.parametrize("workers", ["local", "threads", "cluster"], indirect=True)
def test_a_run_that_changed_under_its_study_has_no_answer(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study has it open, and so have its workers; half of what they would say is from the files of before.

    The refusal ends local processes, so that tests of them stand above this one.
    """
    recorded = record(tmp_path / "run")
    before = RunSpec(aadsl.open_trajectory(recorded.path), recorded.net, loss_fn, recorded.data, "cpu")
    monkeypatch.setattr(workers, "spec", before)
    assert len(list(workers.map(start, [0, 1], silent))) == 2
    recorded.path.rename(tmp_path / "away")
    monkeypatch.setattr("tests.digits.network", lambda dtype: network(dtype, seed=4))
    record(recorded.path)
    with pytest.raises(AadslError, match=r"another recording at .* has changed since"):
        list(workers.map(start, [0, 1], silent))


@pytest.mark.parametrize("part", ["model", "loss", "data"])
def test_a_part_that_cannot_be_pickled_is_named(spec: RunSpec, part: str) -> None:
    lock = threading.Lock()
    model = network()
    model.lock = lock
    broken = {"model": model, "loss": lambda model, batch: lock and loss_fn(model, batch), "data": [lock] * 300}
    with pytest.raises(AadslError, match=f"{part}= cannot be sent to workers: cannot pickle .*lock.*\n"):
        Parcel.of(replace(spec, **{part: broken[part]}), None)


def test_a_module_that_workers_do_not_have(
    spec: RunSpec, processes: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_nets.py").write_text("def loss(model, batch):\n    return model(batch[0]).mean()\n")
    monkeypatch.syspath_prepend(tmp_path)
    from my_nets import loss  # type: ignore[import-not-found]

    with pytest.raises(AadslError, match=r"cannot load the model, the loss or the data: .*my_nets.*\ninstall"):
        list(Workers(replace(spec, loss=loss), processes).map(start, [0], silent))


def test_workers_with_other_versions(spec: RunSpec) -> None:
    parcel = replace(Parcel.of(spec, None), versions=("0.0.1", "2.0.0", "3.9"))
    parcel.remove()
    with pytest.raises(AadslError, match=r"a worker has .*; here it is aadsl 0\.0\.1, PyTorch 2\.0\.0 and Python 3\.9"):
        perform(parcel, b"")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "0 workers cannot work"),
        ({"count": -1}, "-1 workers cannot work"),
        ({"executor": "dask"}, "not str\nsuch as concurrent.futures.ProcessPoolExecutor"),
    ],
)
def test_what_is_no_executor(spec: RunSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AadslError, match=message):
        Workers(spec, **options)


NOTEBOOK = """
import sys, torch, aadsl
from torch import nn
from aadsl.core.progress import silent
from aadsl.data.examples import Examples
from aadsl.replayed.run_spec import RunSpec
from aadsl.replayed.workers import Workers
from tests.digits import images_and_labels
from tests.engine.test_workers import counterfactual_end, process

class Net(nn.Sequential):
    pass

class Digits(torch.utils.data.Dataset):
    def __init__(self):
        self.x, self.y = images_and_labels()
    def __len__(self):
        return len(self.y)
    def __getitem__(self, i):
        return self.x[i], self.y[i]

def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])

net = Net(nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 10))
spec = RunSpec(aadsl.open_trajectory(sys.argv[1]), net, loss, Digits(), "cpu")
workers = Workers(spec, count=1)
answers = dict(workers.map(counterfactual_end, [range(2, 5)], silent))
torch.testing.assert_close(answers[0], counterfactual_end(spec.history(), range(2, 5)), rtol=0, atol=0)
print(list(workers.map(process, [0], silent))[0][1][0])
"""


@pytest.fixture(scope="module")
def ended(run: Recorded, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A script without a guard stands for the notebook: nothing of it is run again in the workers."""
    script = tmp_path_factory.mktemp("notebook") / "notebook.py"
    script.write_text(NOTEBOOK)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    return subprocess.run([sys.executable, script, run.path], env=environment, capture_output=True, text=True)


def test_what_is_defined_in_a_notebook_reaches_local_workers(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, ended.stderr


def test_a_program_that_ends_leaves_no_process_and_no_word(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.stdout), 0)


def test_a_few_examples_of_many_travel_alone() -> None:
    images, labels = torch.randn(10_000, 100), torch.arange(10_000) % 10
    for given in (Examples.of((images[:20], labels[:20])), Examples.of((images, labels)).select(np.arange(20))):
        content = pickled(given)
        assert len(content) < 40_000
        arrived = unpickled(content, "the examples")
        assert pickled(given) == content, "they are known by their bytes"
        assert len(arrived) == 20 and arrived.coordinates.equals(given.coordinates)
        for own, wanted in zip(arrived.take([3, 19]), given.take([3, 19]), strict=True):
            assert torch.equal(own, wanted)


def test_gaps_between_checkpoints_are_trained_by_processes(processes: Executor, tmp_path: Path) -> None:
    checkpoints = loops.trained()[1]
    found = [
        loops.reconstructed(checkpoints, tmp_path / name, executor=executor, batches=loops.wrong_in_the_middle)
        for name, executor in (("here", None), ("there", processes))
    ]
    assert found[0].gaps == found[1].gaps and len(found[0].approximate) == 1
    for step in checkpoints:
        here, there = (one.trajectory.state(step).parameters for one in found)
        assert all(torch.equal(value, there[name]) for name, value in here.items())
    with pytest.raises(aadsl.AadslError, match=r"the checkpoint of step 4 does not fit"):
        loops.reconstructed(checkpoints | {4: {"other": loops.X}}, tmp_path / "other", executor=processes)
