"""What another process needs to open the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aadsl.core.copies import copied
from aadsl.core.errors import AadslError
from aadsl.propagation import hooks_of, put_hooks
from aadsl.replayed.final import ask_about
from aadsl.replayed.history import History
from aadsl.replayed.models import GivenLoss, GivenModel
from aadsl.replayed.rules import GivenOptimizer, classes_of
from aadsl.replayed.training_data import TrainingData
from aadsl.trajectory import Beginning, Trajectory, open_trajectory


@dataclass(frozen=True)
class RunSpec:
    """The arguments of a :class:`History`, fit to be sent: the recorded files stay where they are.

    Attributes:
        trajectory: what was recorded; pickled as its paths, and opened anew where it arrives.
        final: which model answers are about, see :mod:`aadsl.replayed.final`.
        finish: what is done to it before it is shipped.
        model, loss, data, device, memory, optimizer: as :class:`History` has them.
    """

    trajectory: Trajectory
    model: GivenModel
    loss: GivenLoss
    data: Any = None
    device: str | torch.device = "auto"
    memory: str | float | None = None
    optimizer: GivenOptimizer = None
    final: int | str | tuple[int, ...] | None = None
    finish: Callable[[nn.Module], Any] | None = None

    def history(self) -> History:
        """Return the run of these arguments."""
        given = {"model": self.model, "loss": self.loss, "data": self.data, "memory": self.memory}
        history = History(self.trajectory, **given, device=self.device, optimizer=self.optimizer)
        ask_about(history, self.final, self.finish)
        return history

    def opened_again(self) -> RunSpec:
        """Return the same with files of its own.

        Raises:
            AadslError: the files cannot be seen from here, or are no longer those that were opened.
        """
        opened, arguments = self.__reduce__()
        return opened(*arguments)

    def __reduce__(self) -> tuple[Callable[..., RunSpec], tuple[Any, ...]]:
        data = None if self.data is None else TrainingData.of(self.data, self.trajectory)
        recording = SentRecording.of(self.trajectory)
        model: Any
        hooks: dict[str, Any]
        if isinstance(self.model, Mapping):
            model = {run: copied(one) for run, one in self.model.items()}
            hooks = {run: hooks_of(one) for run, one in model.items()}
        else:
            model = copied(self.model)
            hooks = hooks_of(model)
        # A class that was defined in a notebook is not to be imported there.
        optimizer = self.optimizer or classes_of(self.trajectory)
        # A pickled parameter has no hooks.
        rest = self.loss, data, self.device, self.memory, optimizer, self.final, self.finish
        return _arrived, (recording, model, hooks, *rest)


def _arrived(recording: SentRecording, model: GivenModel, hooks: dict[str, Any], *arguments: Any) -> RunSpec:
    pairs = zip(model.values(), hooks.values(), strict=True) if isinstance(model, Mapping) else [(model, hooks)]
    for own, of in pairs:
        put_hooks(own, of)
    return RunSpec(recording.open(), model, *arguments)


@dataclass(frozen=True)
class SentRecording:
    """Where a trajectory is, and what it was when it was opened.

    Attributes:
        paths: absolute paths or URLs of its runs.
        digest: of all files.
        length: number of steps.
        beginnings: how its runs are said to begin.
    """

    paths: tuple[str, ...]
    digest: str
    length: int
    beginnings: tuple[Beginning, ...] = ()

    @classmethod
    def of(cls, trajectory: Trajectory) -> SentRecording:
        """Return where ``trajectory`` is. A file that holds several runs is named once."""
        paths = [path for path, _ in groupby(_absolute(job.path) for job in trajectory.jobs)]
        return cls(tuple(paths), trajectory.digest, trajectory.length, trajectory.chain.beginnings)

    def open(self) -> Trajectory:
        """Open it.

        Raises:
            AadslError: it cannot be seen from here, or has changed.
        """
        for path in self.paths:
            if not _is_url(path) and not Path(path).exists():
                raise AadslError(
                    f"the workers do not see {path}",
                    hint="put it where all machines can read it, under one path, and open it from there",
                )
        trajectory = open_trajectory(self.paths)
        if (trajectory.digest, trajectory.length) != (self.digest, self.length):
            raise AadslError(
                f"the workers see another recording at {self.paths[0]} than was opened here: it has changed since",
                hint="open it again: aadsl.open_trajectory(path)",
            )
        return Trajectory(trajectory.chain.runs, self.beginnings) if self.beginnings else trajectory


def looks(trajectory: Trajectory) -> tuple[tuple[str, int, int], ...]:
    """Return name, size and time of change of each of its files as they are now; of copies from a URL nothing."""
    paths = [Path(path) for path in dict.fromkeys(job.path for job in trajectory.jobs) if not _is_url(path)]
    files = [file for path in paths for file in (sorted(path.glob("*.nc")) if path.is_dir() else [path])]
    return tuple((str(f), s.st_size, s.st_mtime_ns) for f in files if f.exists() for s in [f.stat()])


def _is_url(path: str) -> bool:
    return "://" in path or "::" in path


def _absolute(path: str) -> str:
    return path if _is_url(path) else str(Path(path).expanduser().absolute())
