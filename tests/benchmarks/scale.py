"""How time, states and memory grow with a run's length and a network's size: ``python -m tests.benchmarks.scale``.

A small network over 10² to 10⁵ steps, and a few steps of networks of 10⁴ to 10⁸ parameters: plain training, recording,
the effects of all steps by one sweep, exact answers, blocks. Each is done by a process of its own, whose memory is that
of this one thing, up to three times: what took the least time counts, since whatever else goes on only adds to it. What
was found is kept in scale.csv, point by point, and not measured again on the next call; tables and charts are written
to scale.md beside it (:mod:`tests.benchmarks.scale_report`), and what a run of 10⁹ parameters would need
(:mod:`tests.benchmarks.large_run`, :mod:`tests.benchmarks.cluster`).

    nice python -m tests.benchmarks.scale [steps] [parameters] [report]
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.memory import free_memory
from aadsl.estimators import ESTIMATORS
from tests.benchmarks import cluster, models, scale_report
from tests.benchmarks.cost import Batch, digits, fit, loss_fn, scratch
from tests.benchmarks.memory import peak_bytes
from tests.benchmarks.report import HERE, stamp
from tests.benchmarks.scale_points import ACTIVITIES, DATA, SHORT, SMALL, Found, Point, keep, load, longer

BATCH, EXAMPLES, PROBES = 32, 1000, 100
RATE = 0.001
WITHIN = 8_000_000
"""Bytes that the states held by the second sweep of each length may take."""
WINDOWS = 8
LONGEST, LARGEST = {"blocks": 1000}, {"blocks": 10**6}
"""Steps and parameters up to which an activity is measured, where it takes long."""
TRIES, ENOUGH = 3, 60.0
"""How often each point is measured at most, and the seconds after which no other try begins."""
COPIES = {"plain": 6, "recorded": 10, "sweep": 40, "first exact": 14, "further exact": 14, "blocks": 60}
"""Of the parameters, about, that an activity holds on a few steps: what memory does not allow is left out."""


def points(lengths: Iterable[int], sizes: Iterable[int]) -> Iterator[Point]:
    """Yield what is to be measured, the cheapest first."""
    for parameters, steps in product(sizes, (SHORT, None)):
        own = (activity for activity in COPIES if parameters <= LARGEST.get(activity, parameters))
        yield from (Point("parameters", steps or longer(parameters), parameters, activity) for activity in own)
    for steps in lengths:
        own = (activity for activity in ACTIVITIES if steps <= LONGEST.get(activity, steps))
        yield from (Point("steps", steps, SMALL, activity) for activity in own)


def network(parameters: int) -> nn.Module:
    """Return a two-layer network of about so many parameters."""
    return models.mlp("relu", max(1, round((parameters - 10) / 795)))


@lru_cache
def data() -> tuple[Tensor, ...]:
    return tuple(part[:EXAMPLES].clone() for part in digits())


def train(axis: str, steps: int, parameters: int, folder: Path | None) -> None:
    torch.manual_seed(0)
    images, labels = data()

    def batch(step: int) -> Batch:
        rows = torch.arange(BATCH * step, BATCH * step + BATCH) % EXAMPLES
        return rows, images[rows], labels[rows]

    states = "sqrt" if axis == "steps" else SHORT
    fit(network(parameters), RATE, batch, steps, folder, (images, labels), states)


def opened(point: Point, folder: Path, memory: int | None = None, attempt: int = 0) -> aadsl.Study:
    """Return a study of the recorded run, with two stages at its beginning and eight windows.

    At each attempt the second stage is another one that begins at the same step, which no attempt before answered.
    """
    study = aadsl.Study(
        aadsl.open_trajectory(folder),
        model=network(point.parameters),
        loss=loss_fn,
        data=data(),
        device="cpu",
        memory=memory,
    )
    study.behavior("digits", "log_likelihood", on=tuple(part[:PROBES] for part in data()))
    study.stage("first", [0])
    study.stage("second", sorted({1, 1 + attempt}))
    for number, window in enumerate(np.array_split(np.arange(point.steps), WINDOWS)):
        study.stage(f"window {number}", window)
    return study


def prepared(point: Point, folder: Path, attempt: int = 0) -> Callable[[], int]:
    """Return what is measured; it returns how many observed steps a sweep holds, 0 where there is none.

    Before a sweep the recording is verified, as before any first answer; exact answers compare all of it themselves.
    """
    run = folder / "run"
    if point.activity in ("plain", "recorded"):
        if point.activity == "recorded":
            shutil.rmtree(run, ignore_errors=True)
        where = run if point.activity == "recorded" else None
        return lambda: train(point.axis, point.steps, point.parameters, where) or 0
    if point.activity != "further exact":  # which takes what the first one found out; nothing else is kept
        shutil.rmtree(folder / "run.effects", ignore_errors=True)
    study = opened(point, run, WITHIN if point.activity == "sweep within 8 MB" else None, attempt)
    if "exact" in point.activity:
        stage = "first" if point.activity == "first exact" else "second"
        return lambda: exactly(study, stage)
    study.verify_trajectory(samples=1)
    return (lambda: blocks(study)) if point.activity == "blocks" else (lambda: swept(study))


def swept(study: aadsl.Study) -> int:
    study.step_effects(["digits"], estimator=ESTIMATORS["first_order"]())
    bounds = [*study.history.checkpoints, study.history.length]
    return min(study.history.limit, max(b - a for a, b in pairwise(bounds)))


def exactly(study: aadsl.Study, stage: str) -> int:
    assert study.score([stage], ["digits"], estimator="retraining").exact.values.all()
    return 0


def blocks(study: aadsl.Study) -> int:
    study.score([f"window {number}" for number in range(WINDOWS)], ["digits"], estimator="blocks")
    return 0


def warmed_up(activity: str) -> None:
    """Do it once in small, so that nothing is loaded or made for the first time while it is measured."""
    with scratch() as root:
        for name in dict.fromkeys(["recorded", activity]):
            prepared(Point("", WINDOWS, 1000, name), root)()


def measured_here(point: Point, folder: Path, attempt: int = 0) -> Found:
    """Measure one point in this process."""
    torch.set_num_threads(1)
    warmed_up(point.activity)
    act = prepared(point, folder, attempt)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, so that it counts when it is taken again
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, begun, cpu = resident(), time.perf_counter(), time.process_time()
    held = act()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    memory = max(0, peak_bytes() - before)
    files = [file for file in (folder / "run").glob("*") if file.is_file()]
    states = [file.stat().st_size for file in files if file.name.startswith("state-")]
    disk = sum(file.stat().st_size for file in files)
    return Found(*point, seconds, cpu, len(states), max(states, default=0), disk, int(held), memory, stamp())


def resident() -> int:
    """Return the bytes that this process holds now."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_bytes()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status.read_text())
    return int(kilobytes) * 1024


def measured_apart(point: Point, folder: Path) -> Found:
    """Measure one point, each time in a process of its own, which finds the libraries loaded."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["aadsl.study", "tests.benchmarks.cost", "tests.benchmarks.scale_report"])
    tries: list[Found] = []
    while not tries or (len(tries) < TRIES and sum(one.seconds for one in tries) < ENOUGH):
        with ProcessPoolExecutor(1, context) as pool:
            tries.append(pool.submit(measured_here, point, folder, len(tries)).result())
    return min(tries, key=lambda one: one.cpu)


def collect(file: Path, wanted: list[Point], measure: Callable[[Point, Path], Found]) -> None:
    """Measure what is wanted and not there yet; the recording that several points read is made once for them."""
    known = {found.point: found for found in load(file)}
    runs = dict.fromkeys((point.axis, point.steps, point.parameters) for point in wanted if point not in known)
    for axis, steps, parameters in runs:
        own = [point for point in wanted if point[:3] == (axis, steps, parameters) and point not in known]
        with scratch() as root:
            if all(point.activity != "recorded" for point in own):
                train(axis, steps, parameters, root / "run")
            for point in own:
                needed = 4 * parameters * COPIES.get(point.activity, 0)
                if needed > free_memory():
                    print(f"{point}: left out, it would take about {needed / 1e9:.0f} GB", flush=True)
                    continue
                known[point] = measure(point, root)
                print(f"{tuple(point)}: {known[point].cpu:.2f} s, {known[point].memory / 1e6:.1f} MB", flush=True)
                keep(file, known.values())


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["steps", "parameters", "report"])
    parser.add_argument("--lengths", type=int, nargs="*", default=[10**k for k in range(2, 6)])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10**k for k in range(4, 9)])
    parser.add_argument("--folder", type=Path, default=HERE, help="where scale.csv, scale.md and the charts are")
    parser.add_argument("--toy", action="store_true", help="a few steps of tiny networks, to see that it works")
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    options = parser.parse_args(given)
    file = options.folder / DATA.name
    lengths, sizes = ([20], [1000]) if options.toy else (options.lengths, options.sizes)
    wanted = [point for point in points(lengths, sizes) if point.axis in options.parts]
    if options.again:
        keep(file, [found for found in load(file) if found.point not in wanted])
    collect(file, wanted, measured_apart)
    if "report" in options.parts:
        scale_report.write(load(file), options.folder)
        cluster.write(load(file), options.folder)


if __name__ == "__main__":
    main()
