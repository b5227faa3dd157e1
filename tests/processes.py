"""Two processes that train one model together, as ``torchrun`` starts them; what hangs is ended, and fails the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests import forkserver

LONGEST = 240.0  # seconds, on the slowest machine


def in_two_processes(work: Callable[..., Any], folder: Path, *given: Any, codes: tuple[int, int] = (0, 0)) -> None:
    """Call ``work(rank, *given)`` in two processes of one group; they end with ``codes``."""
    started = [
        forkserver.context().Process(target=_begin, args=(work, rank, folder / "rendezvous", *given)) for rank in (0, 1)
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(LONGEST)
    finally:
        hanging = [process for process in started if process.is_alive()]
        for process in hanging:
            process.kill()
            process.join()
    assert not hanging, "a process hangs"
    assert tuple(process.exitcode for process in started) == codes


def _begin(work: Callable[..., Any], rank: int, rendezvous: Path, *given: Any) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    work(rank, *given)
    distributed.destroy_process_group()
