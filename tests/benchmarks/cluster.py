"""What the large run costs on a cluster, simulated from the times of tasks that were measured here: scale.md.

Tasks of the length that exact answers have go, in their order, to whichever worker is free first, as an executor, such
as Dask's, hands them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapreplace
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from aadsl.charts import theme
from aadsl.charts.bundle import small_png
from aadsl.charts.frame import table_chart
from aadsl.estimators.spread import portions_of
from tests.benchmarks import large_run
from tests.benchmarks.large_run import PARAMETERS, SECONDS, STAGES, STEPS, Constants, counted, exact_tasks, hours
from tests.benchmarks.report import write_section
from tests.benchmarks.scale_points import Found
from tests.benchmarks.scale_report import TITLE, logarithmic, measured

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128)
SHOWN = (1, 4, 16, 64)
TRAINING = SECONDS * STEPS / 3600
"""Hours of one training."""


def makespan(tasks: Iterable[float], workers: int) -> float:
    """Return when the last task ends, each begun in its order by whichever worker is free first."""
    free = [0.0] * workers
    for task in tasks:
        heapreplace(free, free[0] + task)
    return max(free)


def wall(known: Constants, stages: int, workers: int) -> float:
    """Return the trainings until the last exact answer, in the portions that a study hands out.

    The comparison of the whole recording comes before them, in the process that asks.
    """
    tasks = exact_tasks(known, stages)
    portions = portions_of(np.round(tasks * STEPS).astype(np.int64), workers)
    return known.replay + makespan([float(tasks[part].sum()) for part in portions], workers)


def cluster(known: Constants) -> Iterator[str]:
    """Hours until all exact answers are there, on a simulated cluster of so many workers that each train as one does.

    In brackets the machine-hours that are paid for, idle ones too. A study that is told of so many workers, by
    `workers=` beside `executor=`, hands out two portions for each, of about the same length. States are read by every
    worker from where the recording lies.
    """
    yield f"| | {' | '.join(counted(n, 'worker') for n in SHOWN)} |\n| --- {'| ---: ' * len(SHOWN)}|"
    for stages in STAGES[1:]:
        spent = [(wall(known, stages, n), n) for n in SHOWN]
        cells = [f"{hours(one)} ({hours(n * one).removesuffix(' h')})" for one, n in spent]
        yield f"| {stages:,} exact answers | {' | '.join(cells)} |"
    for behaviors in (1, 16):
        sweeps = [known.sweep + known.replay] * behaviors
        spent = [(makespan(sweeps, n), n) for n in SHOWN]
        cells = [f"{hours(one)} ({hours(n * one).removesuffix(' h')})" for one, n in spent]
        yield f"| sweeps, {counted(behaviors, 'behavior')} | {' | '.join(cells)} |"


def chart(known: Constants, told: str) -> Any:
    """Draw how long exact answers take on more and more workers."""
    rows = [(n, wall(known, stages, n) * TRAINING, f"{stages:,} stages") for stages in STAGES[1:] for n in WORKERS]
    frame = pd.DataFrame(rows, columns=["workers", "hours", "stages"])
    x = alt.X("workers:Q", title="workers", scale=alt.Scale(type="log", base=2), axis=alt.Axis(values=list(WORKERS)))
    names = [f"{stages:,} stages" for stages in STAGES[1:]]
    color = alt.Color("stages:N", title=None, scale=alt.Scale(domain=names, range=list(theme.STAGES[: len(names)])))
    base = table_chart(frame).encode(x=x, y=logarithmic("y", frame["hours"], "hours"), color=color)
    lines = base.mark_line() + base.mark_point(filled=True, size=26)
    said = (
        f"{PARAMETERS:,} parameters, {STEPS:,} steps of {SECONDS:g} s: simulated from the times of tasks measured here."
    )
    title = alt.Title("Hours until all exact answers are there", subtitle=[said, told])
    drawn = lines.properties(width=theme.WIDTH - 180, height=240, title=title, usermeta=theme.OURS)
    return drawn.properties(description=f"Hours over workers, falling until there is a worker for each stage. {said}")


def write(found: Sequence[Found], folder: Path) -> None:
    """Write what the large run needs, where enough was measured: sections of scale.md, and a picture beside it."""
    if not large_run.enough(found):
        return
    known, told = large_run.constants(found), measured(found)
    for name, section in {**large_run.SECTIONS, "cluster": cluster}.items():
        write_section(folder / "scale.md", TITLE, name, section.__doc__ or "", section(known), told)
    (folder / "scale-cluster.png").write_bytes(small_png(chart(known, told)))
