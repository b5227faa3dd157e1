"""Nothing is lost and nothing raw is said, whatever happens; and a planted fault is found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aadsl.study.questions import Questions
from aadsl.trajectory.store import files
from tests import forkserver
from tests.soak.__main__ import most, soaked
from tests.soak.children import Plant, nothing
from tests.soak.world import World

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # forking with threads about: the child has its own work
]


Soak = Callable[..., tuple[list[str], set[str]]]


@pytest.fixture(scope="module")
def soak() -> Iterator[Soak]:
    """Let worlds live in a process that did nothing else: copies of one that had threads may hang."""
    with ProcessPoolExecutor(1, mp_context=forkserver.context()) as elsewhere:
        yield lambda acts, plant=nothing: elsewhere.submit(outcome, acts, plant).result()


def outcome(acts: int, plant: Plant) -> tuple[list[str], set[str]]:
    """Return the faults of a world after some acts, or as soon as a planted one is found, and how acts ended."""

    def going(world: World) -> bool:
        return world.acts < acts and not (world.faults and plant is not nothing)

    world = soaked(going, seed=4, plant=plant, first=most)
    return world.faults, {how for _, how in world.counts}


def test_nothing_is_lost_and_nothing_is_raw(soak: Soak) -> None:
    faults, ended = soak(16)
    assert not faults, "\n".join(faults)
    assert {"done", "killed", "refused"} <= ended


def skips_the_rename() -> None:
    @contextmanager
    def replacing(path: Path) -> Any:
        yield path.with_name(f".{path.name}.tmp")

    files._replacing = replacing


def is_off_by_a_thousandth() -> None:
    honest = Questions.score

    def score(self: Any, *arguments: Any, **options: Any) -> Any:
        answer = honest(self, *arguments, **options)
        answer["effect"] = answer["effect"] * 1.001
        return answer

    Questions.score = score  # type: ignore[method-assign]


def raises_something_raw() -> None:
    def replacing(path: Path) -> Any:
        raise KeyError(path)

    files._replacing = replacing


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (skips_the_rename, "told as kept"),
        (is_off_by_a_thousandth, "and the truth is"),
        (raises_something_raw, "KeyError"),
    ],
)
def test_a_planted_fault_is_found(soak: Soak, plant: Plant, found: str) -> None:
    faults, _ = soak(12, plant)
    assert any(found in fault for fault in faults), faults
