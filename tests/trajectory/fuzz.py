"""Files that claim anything, with true seals: each is opened, scored and saved, or refused in words.

    python -m tests.trajectory.fuzz 5000 --seed 0

A case copies a small good recording, with what is kept beside it, changes one file (:mod:`tests.trajectory.mutations`)
and uses it; of changes in the recording itself most are only looked at, which takes less time. It may end in the answer
of the good recording, or in a problem of ours; never in another number, another exception, more memory than MEMORY, a
hang or the death of the process. Cases run in a process of their own with limits; where that dies, another goes on
behind the case that killed it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import aadsl
from aadsl.trajectory import Recorder, Trajectory
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd, small_model, train
from tests.trajectory.mutations import Hand, outside

STEPS, STATES = 4, 2
MEMORY = 100 << 20  # beyond what the process has when it begins
SECONDS, PATIENCE = 5, 300  # of computing, of waiting
SWEPT = ("first_order", "linearized", "blocks")
ALLOWED = ("equal", "refused")


class Ending(NamedTuple):
    """How a case ended: ``kind`` is one of ALLOWED, or what must not be."""

    case: int
    kind: str
    change: str
    said: str


class StoppedError(Exception):
    """Ends a sweep on its way."""


def model() -> torch.nn.Module:
    return small_model(dropout=0.2)


def study(trajectory: Trajectory) -> aadsl.Study:
    given = aadsl.Study(trajectory, model=model(), loss=mean_loss, data=DATA, device="cpu")
    torch.manual_seed(1)  # not that of the run, or a replay draws the right numbers without knowing them
    given.stage("odd", [1, 3])
    given.behavior("right", "log_likelihood", on=(INPUTS[:10], TARGETS[:10]))
    given.behavior("wide", "margin", on=(INPUTS[10:20], TARGETS[10:20]))
    return given


def ask(given: aadsl.Study, question: str) -> float:
    """Return the effect that a question such as "retraining of right" asks for."""
    estimator, _, behavior = question.partition(" of ")
    answer = given.score(["odd"], [behavior], estimator=estimator)
    return float(answer["effect"].values[0, 0])


def prepare(folder: Path) -> dict[str, float]:
    """Record a good run twice, with kept answers, a kept model and interrupted sweeps; return the true answers."""
    good, work = folder / "good", folder / "work"
    for kind in ("run", "stored"):
        net = model()
        optimizer = sgd(net)
        with Recorder(good / kind, net, optimizer, DATA if kind == "run" else None, states=STATES) as recorder:
            train(recorder, net, optimizer, STEPS, announce="indices" if kind == "run" else "batch")
    aadsl.open_trajectory(good / "run").to_netcdf(good / "one.nc")
    shutil.copytree(good, work)
    given = study(aadsl.open_trajectory(work / "run"))
    ask(given, "retraining of right")
    for name in SWEPT:
        with suppress(StoppedError):
            given.score(["odd"], ["right"], estimator=name, progress=_interrupting)
    shutil.copytree(work / "run.effects", good / "run.effects")
    shutil.rmtree(work)
    shutil.copytree(good, work)
    return {f"{place} {question}": use(work / place, question, save=True) for place, question in asked(good)}


def _interrupting(label: str, done: int, total: int) -> None:
    if label == "sweep" and done >= 2:
        raise StoppedError


def asked(good: Path) -> list[tuple[str, str]]:
    """Return all that is asked, and of what."""
    return sorted({(place, question) for _, place, question in targets(good)})


def targets(good: Path) -> list[tuple[Path, str, str]]:
    """Return which files are changed, and where and what is asked then."""
    found = []
    for path in sorted((good / "run").glob("*.nc")) + sorted((good / "stored").glob("[bs]*.nc")):
        found += [(path, path.parent.name, question) for question in ("retraining of right", "first_order of right")]
    found += [(good / "one.nc", "one.nc", "retraining of right")] * 3
    for path in sorted((good / "run.effects").glob("*.nc")):
        swept = next((name for name in SWEPT if path.stem.endswith(_SWEEPS[name])), None)
        behavior = "wide" if path.stem.startswith("model") else "right"  # of "wide" no answer is kept
        found.append((path, "run", f"{swept or 'retraining'} of {behavior}"))
    return found


_SWEEPS = {"first_order": "-sweep", "linearized": "-tangents", "blocks": "-blocksweep"}


def use(place: Path, question: str, save: bool = False) -> float:
    """Look at all that was recorded, ask if there is a question, and save."""
    trajectory = aadsl.open_trajectory(place)
    repr(trajectory), trajectory.examples
    for step in range(min(trajectory.length, STEPS)):
        trajectory.batch_indices(step), trajectory.micro_batches(step), trajectory.rng_states(step)
    if not question:
        return _looked_at(trajectory)
    given = study(trajectory)
    effect = ask(given, question)
    if save:
        trajectory.steps.load()
        trajectory.to_netcdf(place.parent / "saved.nc")
        given.counterfactual(["odd"])
    return effect


def _looked_at(trajectory: Trajectory) -> float:
    """Return a number that no answer is where the files are as they should be; raise what is wrong with them."""
    if problems := trajectory.violations():
        raise aadsl.AadslError(*problems, hint="restore the files")
    return float("inf")


def one_case(folder: Path, truth: dict[str, float], case: int, seed: int) -> Ending:
    """Change a file of the good recording, and use it."""
    dice = random.Random(f"{seed} {case}")
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder / "good", work)
    good = targets(folder / "good")
    path, place, question = good[case % len(good)]
    victim = work / path.relative_to(folder / "good")
    kept = path.parent.name == "run.effects"
    change = f"{path.parent.name}/{path.name}: " + (
        outside(victim, dice) if dice.random() < 0.3 else Hand(dice, honest_numbers=kept).inside(victim)
    )
    if not kept and dice.random() < 0.7:
        question = ""
    try:
        effect = use(work / place, question, save=case % 10 == 0)
    except aadsl.AadslError as error:
        return Ending(case, _refused(error), change, str(error)[:300])
    except Exception:
        return Ending(case, "raw", change, traceback.format_exc(limit=-6))
    true = truth[f"{place} {question}"] if question else float("inf")
    return Ending(case, "equal" if np.isclose(effect, true, rtol=1e-5, atol=0) else "wrong", change, f"{effect} {true}")


def _refused(error: aadsl.AadslError) -> str:
    """Return whether a refusal is one: it has a way out, and did not come of taking all memory first."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "memory" in str(cause) or "malloc" in str(cause):
            return "memory"
        cause = cause.__cause__ or cause.__context__
    return "refused" if all(problem.hint for problem in error.problems) else "without a way out"


def limit() -> None:
    """Allow this process MEMORY more than it has."""
    status = Path("/proc/self/status").read_text()
    size = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(folder: Path, cases: range, seed: int) -> None:
    """Go through cases, and tell each one's ending as a line of JSON."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    truth = prepare(folder)  # what is imported and reserved once by the way is no file's claim
    limit()
    for case in cases:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        signal.alarm(PATIENCE)
        ending = one_case(folder, truth, case, seed)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.alarm(0)
        sys.stdout.write(json.dumps(ending) + "\n")
        sys.stdout.flush()


def endings(count: int, seed: int) -> Iterator[Ending]:
    """Yield how ``count`` cases end."""
    case = 0
    while case < count:
        with tempfile.TemporaryDirectory(prefix="aadsl-fuzz-") as name:
            arguments = [str(count), "--seed", str(seed), "--serve", name, "--first", str(case)]
            environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "tests.trajectory.fuzz", *arguments]
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as server:
                assert server.stdout is not None
                for line in server.stdout:
                    ending = Ending(*json.loads(line))
                    yield ending
                    case = ending.case + 1
            if server.returncode:
                killer = (
                    signal.Signals(-server.returncode).name if server.returncode < 0 else f"exit {server.returncode}"
                )
                yield Ending(case, "hang" if killer in ("SIGALRM", "SIGVTALRM") else "death", "?", killer)
                case += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this case alone, in this process, without limits")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve, range(chosen.first, chosen.cases), chosen.seed)
        return 0
    if chosen.only is not None:
        with tempfile.TemporaryDirectory() as name:
            truth = prepare(Path(name))
            sys.stdout.write("\n".join(map(str, one_case(Path(name), truth, chosen.only, chosen.seed))) + "\n")
        return 0
    counts: Counter[str] = Counter()
    for ending in endings(chosen.cases, chosen.seed):
        counts[ending.kind] += 1
        if ending.kind not in ALLOWED:
            sys.stdout.write(f"{ending.case} {ending.kind}: {ending.change}\n{ending.said}\n")
    sys.stdout.write(f"{dict(counts)}\n")
    return int(any(kind not in ALLOWED for kind in counts))


if __name__ == "__main__":
    sys.exit(main())
