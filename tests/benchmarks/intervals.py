"""How close estimates of windows are, and which intervals around them hold: ``python -m tests.benchmarks.intervals``.

For each network of ``fidelity`` and each seed the exact effects of all contiguous windows of five steps, estimates of
them, and what may tell how far those are off. They are kept as ``intervals-SEED.npz`` in a folder, seed by seed; the
tables, made by :mod:`tests.benchmarks.conformal`, are written to intervals.md beside this file, with ``--report`` of
what is there.

    OMP_NUM_THREADS=1 nice python -m tests.benchmarks.intervals --folder /tmp --seeds 0 1 2 --processes 2
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import aadsl
from aadsl.estimators import FirstOrder, Query, Retraining
from aadsl.estimators.base import final_readouts
from aadsl.estimators.blocks import blocks_of
from aadsl.estimators.defaults import candidates_for, finite_sweep
from aadsl.interventions import INTERVENTIONS
from aadsl.propagation import BlockSweep, block_sweep, eigenpairs
from aadsl.replayed.execution import Execution
from tests.benchmarks import conformal
from tests.benchmarks.fidelity import SETTINGS, poisoned_study
from tests.benchmarks.report import stamp

STEPS, WIDTH, RANK = 30, 5, 8
REPORT = Path(__file__).with_suffix(".md")
Arrays = dict[str, NDArray[np.float64]]


def windows() -> NDArray[np.bool_]:
    """Return (W, T) all contiguous windows."""
    starts, steps = np.arange(STEPS - WIDTH + 1)[:, None], np.arange(STEPS)
    return (steps >= starts) & (steps < starts + WIDTH)


def measured(study: aadsl.Study) -> Arrays:
    """Return what is known of all windows; W windows, K behaviors, T steps, r eigenpairs.

    ``exact``, ``first_order`` and ``linear`` (K, W): effects; ``bends`` (K, W, r): λ_j ⟨u_j, E⟩²; ``steps`` (K, T):
    first-order effects of single steps; ``lengths`` (K, T): ‖u_t‖; ``sizes`` (W,): ‖θ_b − θ_a‖.
    """
    history, execution = study.history, Execution()
    behaviors = tuple(study.behaviors[name] for name in ("digits", "backdoor"))
    query = Query(windows(), behaviors, INTERVENTIONS["skip"]())
    exact = Retraining().answer(history, query, execution).effect.T
    first_order = FirstOrder().answer(history, query, execution)
    state, readouts = final_readouts(history, behaviors)
    pairs = [eigenpairs(readout, state, RANK) for readout in readouts]
    cotangents = [readout.cotangent(state) for readout in readouts] + [v for _, own in pairs for v in own]
    blocks, owned = blocks_of(history, query)

    def sweep(curvature, execution) -> BlockSweep:
        start = BlockSweep.starting(history.length, cotangents, len(blocks))
        *_, last = block_sweep(history, history.step_map, start, curvature, blocks)
        return last

    last, curvature = finite_sweep(history, candidates_for(history, None), None, execution, sweep)
    along = owned @ last.products.numpy()
    count = len(behaviors)
    products = along[:, count:].T.reshape(count, RANK, -1)
    values = np.stack([own.numpy() for own, _ in pairs])
    return {
        "exact": exact,
        "first_order": first_order.effect.T,
        "linear": along[:, :count].T,
        "bends": (values[:, :, None] * products**2).transpose(0, 2, 1),
        "steps": first_order.step_effect.T,
        "lengths": last.growth.numpy().T[:count],
        "sizes": owned @ last.sizes.numpy(),
        "curvature": np.array(curvature),
    }


def one(seed: int, number: int) -> Arrays:
    """Measure one network with one seed."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as run:
        return measured(poisoned_study(Path(run), SETTINGS[number], STEPS, seed))


def collect(folder: Path, seed: int, pool: Executor) -> None:
    """Measure all networks with one seed."""
    found: list[Arrays] = []
    for setting, arrays in zip(SETTINGS, pool.map(partial(one, seed), range(len(SETTINGS))), strict=True):
        found.append(arrays)
        errors = {name: conformal.relative_error(arrays[name], arrays["exact"]) for name in ("first_order", "linear")}
        sys.stdout.write(f"{seed} {setting} {errors}\n")
        sys.stdout.flush()
        stacked = {name: np.stack([each[name] for each in found]) for name in found[0]}
        np.savez(folder / f"intervals-{seed}.npz", settings=[str(s) for s in SETTINGS[: len(found)]], **stacked)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure intervals around estimates.")
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--processes", type=int, default=1, help="at once, each with one thread")
    parser.add_argument("--report", action="store_true", help="only make the tables of what is there: intervals.md")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for seed in [] if options.report else options.seeds:
            collect(options.folder, seed, pool)
    runs = [dict(np.load(file)) for file in sorted(options.folder.glob("intervals-*.npz"))]
    counts = ", ".join(f"{len(run['exact'])}" for run in runs)
    # When and where it was measured stays what the file says, where its tables alone are made anew.
    told = REPORT.read_text(encoding="utf-8").splitlines()[2] if options.report and REPORT.exists() else stamp()
    told = told.partition("; networks")[0].rstrip(".")
    lines = [
        "# Intervals around estimates of windows of five steps",
        f"\n{told}; networks measured with each seed: {counts} of {len(SETTINGS)}.\n",
        *conformal.report(runs),
    ]
    REPORT.write_text("\n".join(lines) + "\n")
    sys.stdout.write(REPORT.read_text())


if __name__ == "__main__":
    main()
