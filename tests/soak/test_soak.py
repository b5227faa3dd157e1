"""Nothing is lost and nothing raw is said, whatever happens; and a planted fault is found."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aadsl.study.questions import Questions
from aadsl.trajectory.store import files
from tests.soak.__main__ import soaked

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # forking with threads about: the child has its own work
]


def test_nothing_is_lost_and_nothing_is_raw() -> None:
    world = soaked(lambda world: world.acts < 16, seed=4)
    assert not world.faults, "\n".join(world.faults)
    ended = {how for _, how in world.counts}
    assert {"done", "killed", "refused"} <= ended, world.counts


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
def test_a_planted_fault_is_found(plant: Any, found: str) -> None:
    world = soaked(lambda world: world.acts < 12 and not world.faults, seed=4, plant=plant)
    assert any(found in fault for fault in world.faults), world.faults
