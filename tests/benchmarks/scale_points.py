"""What :mod:`tests.benchmarks.scale` measures, and the file that it is kept in: scale.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, get_type_hints

from tests.benchmarks.report import HERE

DATA = HERE / "scale.csv"
SMALL = 10_000
"""Parameters of the network whose run grows."""
SHORT = 8
"""Steps of the shorter of the two runs of each network that grows, and between the states that both keep."""
ACTIVITIES = ("plain", "recorded", "sweep", "sweep within 8 MB", "first exact", "further exact", "blocks")
"""In the order in which they are done: those after ``recorded`` read what it wrote."""


class Point(NamedTuple):
    """One thing to measure: ``axis`` is what grows, ``activity`` what is done."""

    axis: str
    steps: int
    parameters: int
    activity: str


class Found(NamedTuple):
    """What was measured at a point.

    Attributes:
        seconds: of the clock, and ``cpu`` of the processor, all threads together.
        states: that the recording kept, of ``state_bytes`` each, and ``disk`` what all its files take.
        held: how many observed steps a sweep holds at a time, at most.
        memory: bytes at the peak, beyond those held before.
        measured: when and on what.
    """

    axis: str
    steps: int
    parameters: int
    activity: str
    seconds: float
    cpu: float
    states: int
    state_bytes: int
    disk: int
    held: int
    memory: int
    measured: str

    @property
    def point(self) -> Point:
        """What was measured."""
        return Point(*self[:4])


def longer(parameters: int) -> int:
    """Return the steps of the longer run of a network: more of a small one, whose steps take no time."""
    return SHORT * (1 + 2 * max(1, min(5, 10**8 // parameters)))


def load(file: Path) -> list[Found]:
    """Return what was measured so far."""
    if not file.exists():
        return []
    kinds = get_type_hints(Found).values()
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [*csv.reader(lines)][1:]
    return [Found(*(kind(cell) for kind, cell in zip(kinds, row, strict=True))) for row in rows]


def keep(file: Path, found: Iterable[Found]) -> None:
    found = sorted(found, key=lambda one: (one.axis != "steps", ACTIVITIES.index(one.activity), one.point))
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, lineterminator="\n").writerows([Found._fields, *found])
