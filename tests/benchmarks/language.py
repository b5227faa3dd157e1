"""Speed of the language: ``python -m tests.benchmarks.language``.

Every time is processor time, the best of several, with what it should stay under: other programs on the machine make
the wall's clock say more, and nothing here waits.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from aadsl.statements import Session, complete
from aadsl.statements.program import resolve
from aadsl.statements.table import parser
from tests.statements.conftest import notebook
from tests.statements.fakes import FakeStudy

MILLION = 1_000_000
PROGRAM = (
    """
stage poisoned = batches where tag == "badnet"
stage warmup = steps[0:10]
stage late = steps[-20:] where lr < 0.1 and 1 <= epoch < 3
stage clean = not poisoned and not warmup
stages source by tag
stages window every 50 steps within clean
behavior backdoor = log_likelihood(target=7) on triggered
behavior digits = log_likelihood on test where label in [4, 9] by label
score poisoned, source on backdoor, digits
rank steps on backdoor top 10
"""
    * 10
)
CONDITIONS = [
    'tag == "badnet"',
    "lr < 0.05 and 1 <= epoch < 3",
    'tag matches "^bad" or not (loss > 0.5)',
    "step % 7 == 3",
]
# interegular, which only the tests install, makes Lark look for collisions each time it builds a parser.
STARTUP = """
import sys, time
sys.modules["interegular"] = None
import lark, numpy, aadsl.language
from aadsl.statements import STATEMENTS
started = time.process_time()
aadsl.language.Parser(node for nodes in STATEMENTS.values() for node in nodes)
print(time.process_time() - started)
"""


def best(function: Callable[[], Any], times: int = 7) -> float:
    """Return the shortest of several calls, in milliseconds."""
    taken = []
    for _ in range(times):
        started = time.process_time()
        function()
        taken.append(time.process_time() - started)
    return 1e3 * min(taken)


def fresh_parser() -> float:
    """Return the time to build the parser in a new process, in milliseconds."""
    command = [sys.executable, "-c", STARTUP]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(5)]
    return 1e3 * min(float(run.stdout) for run in runs)


def million() -> FakeStudy:
    """Return a study of a million steps."""
    random = np.random.default_rng(0)
    step = np.arange(MILLION)
    columns = {
        "tag": ("step", np.array(["clean", "badnet", "", "relabeled"], dtype=object)[random.integers(0, 4, MILLION)]),
        "lr": ("step", random.random(MILLION)),
        "loss": ("step", np.where(random.random(MILLION) < 0.01, np.nan, random.random(MILLION))),
        "epoch": ("step", step // 100_000),
    }
    return FakeStudy(xr.Dataset(columns, {"step": step}))


def main() -> None:
    """Print the table."""
    names = notebook()
    small = Session(study=FakeStudy())  # type: ignore[arg-type]
    resolve(parser().parse(PROGRAM), names, small)  # imports torch, which is not the language's time

    def show(what: str, taken: float, limit: float) -> None:
        print(f"{what:<62} {taken:8.1f} ms   (at most {limit:.0f})")

    show("building the parser in a new process", fresh_parser(), 100)
    show("parsing 100 statements", best(lambda: parser().parse(PROGRAM)), 50)
    show("parsing and resolving them", best(lambda: resolve(parser().parse(PROGRAM), names, small)), 50)
    text = PROGRAM + "score poisoned on back"
    show("completion after them", best(lambda: complete(text, len(text), small, names)), 50)

    large = million()
    for condition in CONDITIONS:
        program = f"stage chosen = steps where {condition}"
        first = best(lambda p=program: resolve(parser().parse(p), {}, Session(study=large)), 3)  # type: ignore[misc, arg-type]
        show(f"{condition}, over 1,000,000 steps, first time", first, 100)
        session = Session(study=large)  # type: ignore[arg-type]
        again = best(lambda p=program, s=session: resolve(parser().parse(p), {}, s))  # type: ignore[misc]
        show("    and again in the same session", again, 100)


if __name__ == "__main__":
    main()
