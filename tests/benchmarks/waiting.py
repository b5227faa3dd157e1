"""What a person waits for before anything is computed: ``python -m tests.benchmarks.waiting`` prints seconds.

Loading the extension in a fresh kernel, completion over the wire, opening a run of a million steps and the first
conditions on it, drawing a timeline of a hundred thousand. Every time is the shortest of several.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from aadsl.charts import CHARTS
from aadsl.trajectory import open_trajectory
from tests.benchmarks.report import ROOT
from tests.charts.answers import answer
from tests.notebook.lab import LIMIT
from tests.trajectory.long import write_long_run

LOAD = """
import time
{before}
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
shell.run_line_magic("load_ext", "aadsl")
print(time.perf_counter() - start)
"""
MILLION = 1_000_000


def shortest(act: Callable[[], object], times: int = 5) -> float:
    """Return the seconds of the quickest of several calls."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return min(taken)


def loading(before: str) -> float:
    """Return the seconds that ``%load_ext aadsl`` takes in a new process."""
    command = [sys.executable, "-c", LOAD.format(before=before)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT) for _ in range(3)]
    return min(float(run.stdout.split()[-1]) for run in runs)


def completing() -> float:
    """Return the seconds from asking a kernel for proposals to its answer."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(startup_timeout=LIMIT)
    try:
        client.execute_interactive("%load_ext aadsl", timeout=LIMIT)
        code = "%%aascore\nstage x = st"
        ask = lambda: client.complete(code, len(code), reply=True, timeout=LIMIT)  # noqa: E731
        ask()  # imports the language
        return shortest(ask, 10)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def show(what: str, seconds: float) -> None:
    print(f"{what:<64} {1e3 * seconds:8.0f} ms", flush=True)


def main() -> None:
    print(f"{os.cpu_count()} cores, PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n")
    show("loading the notebook extension", loading(""))
    show("    where torch is imported already", loading("import torch"))
    show("completion over the wire", completing())
    with tempfile.TemporaryDirectory() as folder:
        write_long_run(Path(folder), MILLION)
        show("opening a run of a million steps", shortest(lambda: open_trajectory(folder).steps))
        show("    its first condition", shortest(lambda: (open_trajectory(folder).steps["tag"] == "bad").sum()))
        steps = open_trajectory(folder).steps
        condition = lambda: (steps["tag"] == "bad") & (steps["epoch"] >= 500) & (steps["lr"] > 0.05)  # noqa: E731
        condition()
        show("    a condition over three columns that were read", shortest(condition))
    data = answer(steps=100_000, behaviors=("backdoor",))
    show("a timeline of a hundred thousand steps", shortest(lambda: CHARTS["timeline"]().draw(data).to_dict()))


if __name__ == "__main__":
    main()
