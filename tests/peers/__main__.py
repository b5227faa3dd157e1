"""Peers beside us on the same runs: ``make peers`` writes peers.md beside this file.

Each peer answers in an environment of its own, in a process for each method and task; a peer that cannot be had, or
fails, is named with the reason. Peers' answers are kept, so that who was interrupted goes on; ``--again`` asks anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.paper.keeping import Found, Part
from tests.peers.environments import CACHE, NoAnswerError, called, python_of, version
from tests.peers.found import Answer, Answers, fidelity
from tests.peers.method import Method
from tests.peers.page import page
from tests.peers.tasks import write

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("peers.md")
PEERS = ("own", "captum", "dattri", "traker", "kronfluence", "bergson", "dattri_llm")
SILENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "PYTHONNOUSERSITE": "1"}


def methods_of(peer: str) -> dict[str, Method]:
    """Return a peer's methods; its library is imported only where they act."""
    return dict(import_module(f"tests.peers.{peer}").METHODS)


def pythons_of(options: argparse.Namespace) -> dict[str, str | NoAnswerError]:
    """Return the interpreter of each peer, or why there is none."""
    found: dict[str, str | NoAnswerError] = {}
    for peer in options.peers:
        try:
            found[peer] = python_of(peer, options.cache, options.pip.split())
        except NoAnswerError as error:
            found[peer] = error
    return found


def answers(
    seed: int, pythons: dict[str, str | NoAnswerError], options: argparse.Namespace, kept: Part
) -> Iterator[Answer]:
    """Yield every method's answer to every task of a seed; our own are made anew, since the version does not tell."""
    for task in options.tasks:
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            behaviors = cache(partial(written, task, seed, folder))  # where somebody is asked
            for peer, python in pythons.items():
                for method in methods_of(peer):
                    answer = partial(answered, peer, method, python, folder, options.timeout, behaviors)
                    key = f"{task}, seed {seed}: {peer} {method}, {version(peer)}"
                    try:
                        found = answer() if peer == "own" else kept.measured(key, answer)
                    except NoAnswerError as error:
                        yield Answer(task, seed, peer, method, reason=str(error))
                    else:
                        yield Answer.of(task, seed, peer, method, found)


def written(task: str, seed: int, folder: Path) -> list[str]:
    """Write a task; return the names of its behaviors."""
    return list(write(task, seed, folder).behaviors)


def answered(
    peer: str,
    method: str,
    python: str | NoAnswerError,
    folder: Path,
    timeout: float,
    behaviors: Callable[[], list[str]],
) -> Found:
    """Return what a method says, compared with the truths."""
    names = behaviors()
    return compared(asked(peer, method, python, folder, timeout), folder, names)


def asked(peer: str, method: str, python: str | NoAnswerError, folder: Path, timeout: float) -> dict[str, Any]:
    """Return what a method's own process says: its scores, and what they took."""
    if isinstance(python, NoAnswerError):
        raise python
    out = folder / f"{peer} {method}.json"
    command = [python, "-m", f"tests.peers.{peer}", str(folder), method, str(out)]
    called(command, timeout, cwd=str(ROOT), env={**os.environ, **SILENT})
    said: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    if not np.isfinite(said["scores"]).all():
        raise NoAnswerError("its scores are not finite")
    return said


def compared(said: dict[str, Any], folder: Path, behaviors: list[str]) -> Found:
    """Return how close a method's scores are to the truths, and what they took."""
    truths = np.load(folder / "truths.npz")
    close = [
        (behavior, truth, *fidelity(np.array(scores), truths[truth][k]))
        for k, (behavior, scores) in enumerate(zip(behaviors, said["scores"], strict=True))
        for truth in truths
    ]
    cost, memory = said["seconds"] / said["plain_seconds"], said["memory"] - said["plain_memory"]
    return {"fidelity": close, "cost": cost, "memory": memory}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("peers", nargs="*", default=list(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--tasks", nargs="*", default=["MLP", "ResNet", "Transformer"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--kept", type=Path, default=ROOT / "runs" / "peers", help="where answers are kept")
    parser.add_argument("--again", action="store_true", help="ask again what is kept")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page is written")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the environments are")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds of one method on one task")
    parser.add_argument("--pip", default="", help="further options of pip install")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.again:
        (options.kept / "peers.jsonl").unlink(missing_ok=True)
    pythons, methods = pythons_of(options), {peer: methods_of(peer) for peer in options.peers}
    found: list[Answer] = []
    kept = Part("peers", options.page.parent, options.kept)
    for seed in options.seeds:
        for one in answers(seed, pythons, options, kept):
            said = one.reason or f"{one.cost:.1f} × plain training"
            print(f"{one.task}, seed {one.seed}: {one.peer} {one.method}: {said}", flush=True)
            found.append(one)
        options.page.write_text(page(Answers(found, kept.days), methods), encoding="utf-8")
    print(f"written to {os.path.relpath(options.page)}")


if __name__ == "__main__":
    sys.exit(main())
