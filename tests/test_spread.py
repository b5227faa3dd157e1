"""Questions spread over processes and a Dask cluster: the answers of one process, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import aadsl
import aadsl.study.answering
from aadsl.estimators import spread
from aadsl.replayed.history import History
from tests import forkserver
from tests.digits import STEPS, Recorded, record

PROBES = slice(1000, 1060)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(aadsl.study.answering, "SPREAD", 0.0)
    yield recorded
    forget(recorded)


def forget(run: Recorded) -> None:
    for path in Path(f"{run.path}.effects").glob("*"):
        path.unlink()


def asked(run: Recorded, **options: Any) -> aadsl.Study:
    study = run.study(**options)
    study.family("window", {t: range(t, t + 3) for t in range(0, STEPS, 3)})
    on = run.data[0][PROBES], run.data[1][PROBES]
    study.behavior("reading", "log_likelihood", on=on)
    study.behavior("right", "accuracy", on=on)
    study.behavior("sure", "margin", on=on)
    return study


def answers(run: Recorded, **options: Any) -> tuple[xr.Dataset, xr.DataArray]:
    """Return exact answers and a sweep, computed anew."""
    forget(run)
    study = asked(run, **options)
    return study.score(["window"], ["reading", "right"]), study.step_effects(["reading", "sure"])


def equal(found: tuple[xr.Dataset, xr.DataArray], wanted: tuple[xr.Dataset, xr.DataArray]) -> None:
    np.testing.assert_array_equal(found[0].effect, wanted[0].effect)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-6, atol=1e-10)
    assert found[0].exact.values.all()


def test_local_processes_give_the_answers_of_one(run: Recorded) -> None:
    alone = answers(run)
    told: list[tuple[str, int, int]] = []
    forget(run)
    study = asked(run, workers=2)
    spread_over = (
        study.score(["window"], ["reading", "right"], progress=lambda *seen: told.append(seen)),
        study.step_effects(["reading", "sure"]),
    )
    equal(spread_over, alone)
    assert ("retraining", 8, 8) in told
    models = list(Path(f"{run.path}.effects").glob("model-*.nc"))
    assert len(models) == 8, "what workers trained is kept here"


def test_threads_give_the_answers_of_one(run: Recorded) -> None:
    alone = answers(run)
    with ThreadPoolExecutor(2) as executor:
        equal(answers(run, executor=executor), alone)


def test_an_executor_of_many_workers_gets_many_portions(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "PORTIONS", 1)
    alone = answers(run)
    with ThreadPoolExecutor(2) as executor:
        for count, portions in ((0, 1), (2, 4), (50, 8)):
            told: list[tuple[str, int, int]] = []
            forget(run)
            study = asked(run, executor=executor, workers=count)
            found = study.score(["window"], ["reading", "right"], progress=lambda *seen: told.append(seen))  # noqa: B023
            np.testing.assert_array_equal(found.effect, alone[0].effect)
            assert ("retraining", portions, portions) in told


@given(st.lists(st.integers(0, 1000), max_size=120), st.integers(0, 20))
def test_portions_are_about_as_long_as_each_other(steps: list[int], workers: int) -> None:
    portions, most = spread.portions_of(np.array(steps, dtype=np.int64), workers), max(16, 2 * workers)
    assert sorted(position for part in portions for position in part) == list(range(len(steps)))
    assert len(portions) <= most and all(len(part) for part in portions)
    order = [steps[position] for part in portions for position in part]
    assert order == sorted(steps, reverse=True)  # who begins with the longest ends together
    assert all(sum(steps[i] for i in part) <= sum(steps) / most + max(steps) for part in portions)


def killed_once(honest: Callable[[History, Any], Any], mark: Path) -> Callable[[History, Any], Any]:
    def dying(history: History, item: Any) -> Any:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(history, item)

    return dying


def test_a_dask_cluster_loses_a_worker_and_no_answer(
    run: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = answers(run)
    monkeypatch.setattr(spread, "retrained_there", killed_once(spread.retrained_there, tmp_path / "mark"))
    with forkserver.cluster() as executor:
        equal(answers(run, executor=executor), alone)
    assert (tmp_path / "mark").exists(), "a worker was killed"


def test_short_work_is_done_here(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("no worker is worth that")

    monkeypatch.setattr("aadsl.replayed.workers.Workers.map", refused)
    assert asked(recorded, workers=2).score(["window"], ["reading"]).exact.values.all()
    forget(recorded)
