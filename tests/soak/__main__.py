"""Let the world do its worst to a few small runs for some minutes; print what became of it.

python -m tests.soak [minutes] [seed]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.soak.children import Plant, nothing, ready
from tests.soak.kinds import Question, ask, record
from tests.soak.saves import FORMATS, fault_of, save
from tests.soak.world import World


def most(told: int, step: Any, formats: Sequence[str] = ()) -> None:
    """Do once what is done again and again in the soak."""
    asked = Question(2, 5, "first_order")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        record("sgd", run, 8, told)
        ask("sgd", run, asked, step)
        for ending in formats:
            path = run.with_suffix(ending)
            save("sgd", run, asked, path)
            fault_of(path, [])


def everything(told: int, step: Any) -> None:
    """Do once what is done in a long soak."""
    most(told, step, FORMATS)


def soaked(
    going: Callable[[World], bool], seed: int, plant: Plant = nothing, first: Callable[[int, Any], Any] = everything
) -> World:
    """Return a world in which acts happened as long as ``going`` says; what ``first`` does is imported before."""
    ready(first)
    with tempfile.TemporaryDirectory(prefix="aadsl-soak-") as folder:
        world = World(Path(folder), seed, plant)
        while going(world):
            world.act()
        world.settle()
    return world


def main(minutes: float = 20.0, seed: int = 0) -> int:
    """Print a table of what happened, and every fault; return 1 where there is one."""
    end = time.monotonic() + 60 * minutes
    print(f"seed {seed}, {minutes:g} minutes", flush=True)
    world = soaked(lambda world: time.monotonic() < end, seed)
    print("| what happened | how it ended | times |\n| --- | --- | ---: |")
    for (act, how), times in sorted(world.counts.items()):
        print(f"| {act} | {how} | {times} |")
    print(f"\n{world.acts} acts in {sum(world.counts.values())} processes, {len(world.faults)} faults")
    for fault in world.faults:
        print(f"FAULT: {fault}")
    return int(bool(world.faults))


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:3])))
