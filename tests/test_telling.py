"""Long work of every kind says how far it is: before it begins to compute, and then after a bounded amount of work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import aadsl
from aadsl.estimators import ESTIMATORS
from aadsl.propagation import StepMap, replay
from aadsl.trajectory.read.batches import BatchReader
from aadsl.trajectory.read.source import Folder

STEPS = 60
QUIET = 5  # steps without a word in these tests; and so many batches, or files
DATA = (torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)


def loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three stored states, ``closed``, and as it was when it was ``killed`` between two of them."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with aadsl.Recorder(folder / "closed", model, optimizer, DATA, states=25) as recorder:
        for step in range(STEPS):
            chosen = torch.arange(step, step + 4) % 40
            recorder.batch(indices=chosen)
            optimizer.zero_grad()
            loss(model, (DATA[0][chosen], DATA[1][chosen])).backward()
            optimizer.step()
            if step == STEPS - 2:
                recorder.flush()
                shutil.copytree(folder / "closed", folder / "killed")
    return folder


Work = Callable[[aadsl.Study, Any], Any]


def asked(estimator: str) -> Work:
    return lambda study, progress: study.score(["late"], ["likelihood"], estimator=estimator, progress=progress)


WORK: dict[str, Work] = {
    **{name: asked(name) for name in ESTIMATORS},
    "single steps": lambda study, progress: study.step_effects(["likelihood"], progress=progress),
    "single examples": lambda study, progress: study.score(
        ["late"], ["each"], estimator="first_order", progress=progress
    ),
    "estimates beside exact answers": lambda study, progress: study.check(["likelihood"], samples=3, progress=progress),
    "shares": lambda study, progress: study.shares(["early", "late"], ["likelihood"], progress=progress),
    "a model": lambda study, progress: study.counterfactual("late", progress=progress),
    "verification": lambda study, progress: study.verify_trajectory(progress=progress),
}


@pytest.mark.parametrize("run", ["closed", "killed"])
@pytest.mark.parametrize("work", WORK)
def test_no_work_is_long_without_a_word(
    work: str, run: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs / run, tmp_path / run)
    monkeypatch.setattr(replay, "QUIET", QUIET)
    study = aadsl.Study(
        aadsl.open_trajectory(tmp_path / run), model=nn.Linear(3, 2), loss=loss, data=DATA, device="cpu"
    )
    study.stage("early", [2, 3])
    study.stage("late", [45, 46])
    study.behavior("likelihood", "log_likelihood", on=DATA)
    study.behavior("each", "log_likelihood", on=DATA, per_example=True)
    silent: dict[str, int] = {}
    longest: dict[str, int] = {}

    def counted(what: str, honest: Callable[..., Any]) -> Callable[..., Any]:
        def worked(*arguments: Any, **options: Any) -> Any:
            silent[what] = silent.get(what, 0) + 1
            longest[what] = max(longest.get(what, 0), silent[what])
            return honest(*arguments, **options)

        return worked

    monkeypatch.setattr(StepMap, "evaluate", counted("steps", StepMap.evaluate))
    monkeypatch.setattr(BatchReader, "_find", counted("batches", BatchReader._find))
    monkeypatch.setattr(Folder, "digest", counted("digests", Folder.digest))

    def progress(what: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        silent.clear()

    WORK[work](study, progress)
    assert longest.pop("steps") <= 2 * QUIET, longest
    assert all(times <= 4 * QUIET for times in longest.values()), longest


@pytest.mark.parametrize(("total", "told"), [(3 * QUIET + 2, [5, 10, 15, 17]), (QUIET, [5]), (QUIET - 1, [])])
def test_a_replay_ends_at_its_total_and_a_short_one_says_nothing(
    total: int, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "QUIET", QUIET)
    said: list[int] = []
    for done in range(1, total + 1):
        replay._tell(lambda _, done, __: said.append(done), done, total)
    assert said == told
