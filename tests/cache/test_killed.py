"""A process that is killed at any operation on the disk while it answers: the next one gives the whole answer."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from aadsl.study.entries import EntryStore
from aadsl.trajectory.store.files import ABANDONED
from tests import forkserver
from tests.soak.__main__ import most
from tests.soak.children import CALM, Blow, Outcome, alone, ready
from tests.soak.kinds import Question, ask, record

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # forking with threads about: the child has its own work
]

STANDING = {
    "first_order": {"a sweep", "entries"},
    "linearized": {"tangents", "entries"},
    "blocks": {"a block sweep", "entries"},
    "retraining": {"a model", "entries"},
}
"""For each estimator what stands beside the recording when a process is killed that answers by it."""
LENGTH = 3
SWEEPS = {"sweep": "a sweep", "tangents": "tangents", "blocksweep": "a block sweep"}


def kind_of(name: str) -> str:
    """Return what a file beside a recording is."""
    stem = name.removeprefix(".").removesuffix(".tmp").removesuffix(".nc")
    if stem.startswith("sweep-"):
        return SWEEPS[stem.rpartition("-")[2]]
    return "a model" if stem.startswith("model-") else "entries"


def asked(estimator: str, run: Path, blow: Blow = CALM) -> Outcome:
    """Ask in a process of its own."""
    return alone(lambda told, step: ask("sgd", run, Question(1, 2, estimator)), blow)


def killed_everywhere(estimator: str) -> tuple[set[str], list[str]]:
    """Kill a process at its first operation on the disk, another at its second and so on, and ask again each time.

    Return the kinds of files that stood there, and what went wrong.
    """
    ready(most)
    stood, faults = set(), []
    with tempfile.TemporaryDirectory(prefix="aadsl-killed-") as folder:
        recorded = Path(folder) / "run"
        alone(lambda told, step: record("sgd", recorded, LENGTH, told))
        truth = asked(estimator, Path(copytree(recorded, Path(folder) / "whole")))
        found: dict[str, int] = {}
        for number in count():
            run = Path(copytree(recorded, Path(folder) / f"run-{number}"))
            beside = Path(f"{run}.effects")
            outcome = asked(estimator, run, Blow("killed", number))
            if outcome.how == "done":
                return stood, faults if number > 5 else ["nothing was killed"]
            before, found = found, {path.name: path.stat().st_size for path in beside.glob("*")}
            if outcome.how == "killed" and found == before:
                continue  # the next one finds what was found after the kill before
            stood |= {kind_of(name) for name in found}
            again = asked(estimator, run)
            if (outcome.how, again.how) != ("killed", "done") or not np.array_equal(again.value[1], truth.value[1]):
                faults.append(f"killed at {number}: {outcome}, then {again} for {truth}")
            if left := [*beside.glob(".*.tmp"), *beside.glob("sweep-*")]:
                faults.append(f"killed at {number}: {left} stay")
    raise AssertionError("counts without end")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Work in a process that did nothing else: copies of one that had threads may hang."""
    with ProcessPoolExecutor(1, mp_context=forkserver.context()) as executor:
        yield lambda work, *arguments: executor.submit(work, *arguments).result()


@pytest.mark.parametrize("estimator", STANDING)
def test_whoever_is_killed_leaves_what_the_next_one_goes_on_from(elsewhere: Any, estimator: str) -> None:
    stood, faults = elsewhere(partial(killed_everywhere, estimator))
    assert not faults, "\n".join(faults)
    assert stood == STANDING[estimator]


def test_what_a_killed_process_left_half_written_goes_when_nobody_asks_that_again(tmp_path: Path) -> None:
    left, at_work = tmp_path / ".a1.nc.tmp", tmp_path / ".b2.nc.tmp"
    left.touch()
    at_work.touch()
    os.utime(left, (time.time() - 2 * ABANDONED, time.time() - 2 * ABANDONED))
    EntryStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [at_work.name]
    EntryStore(tmp_path / "none")
