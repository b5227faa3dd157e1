"""Makes a folder ready for a recorder: new, replaced, or continued where the model stands."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.core.state import State
from aadsl.trajectory.record.lock import FolderLock
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.record.vocabulary import Vocabulary
from aadsl.trajectory.store.columns import read_column
from aadsl.trajectory.store.files import opened
from aadsl.trajectory.store.header import NAME, Header, read_header, write_header
from aadsl.trajectory.store.segments import (
    Segment,
    cover,
    segments_in,
    state_name,
    states_in,
    truncate,
)
from aadsl.trajectory.store.states import read_state
from aadsl.trajectory.store.tensors import pack, unpack


class Start(NamedTuple):
    """Where recording begins: the held lock, the run's header, the step, and whether ξ_step is on disk as it is.

    ``phase`` is the name of the phase that goes on, "" where a new one begins. Who does not write holds no lock.
    """

    lock: FolderLock | None
    header: Header
    step: int
    stored: bool
    phase: str

    @property
    def place(self) -> dict[str, Any]:
        """What is to be the same in all processes that train the model."""
        return {"step": self.step, "stored": self.stored, "phase": self.phase}


def prepared(
    path: Path, subject: Subject, vocabulary: Vocabulary, new: Header, overwrite: bool, step: int | None
) -> Start:
    """Lock ``path`` and return where to start; where that is in a run, ``vocabulary`` learns its metadata.

    Raises AadslError where a recorded run would be lost, or OSError.
    """
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only")
    lock = FolderLock(path)
    try:
        names = _tidy(path)
        recorded = cover(segments_in(names, "steps"))
        if NAME not in names and recorded:
            raise AadslError(
                f"{path} holds parts of a trajectory without {NAME}", hint="say overwrite=True to replace it"
            )
        if NAME in names and recorded and not overwrite:
            start = _continued(path, subject, new, lock, recorded, step)
            vocabulary.learn(path)
            return start
        if step:
            raise AadslError(f"step={step}, but {path} holds no run to continue", hint="leave step=… out")
        truncate(path, 0, {})
        (path / NAME).unlink(missing_ok=True)
        write_header(path, new)
        return Start(lock, new, 0, stored=False, phase="")
    except BaseException:
        lock.release()
        raise


def _tidy(path: Path) -> list[str]:
    """Remove what a killed recorder left half-written; return the names that remain."""
    for leftover in path.glob(".*.tmp"):
        leftover.unlink()
    return [entry.name for entry in path.iterdir()]


def _continued(
    path: Path, subject: Subject, new: Header, lock: FolderLock, recorded: Sequence[Segment], step: int | None
) -> Start:
    with opened(path / NAME) as dataset:
        header = read_header(dataset)
    _same_subject(path, header, new)
    _same_promises(path, header, new)
    length = recorded[-1].stop
    present = unpack(pack(subject.entries()))
    start, stored = (step, False) if step is not None else _place(path, present, length)
    if not 0 <= start <= length:
        raise AadslError(f"step={start}, but {path} holds steps 0 … {length - 1}", hint="record into a new folder")
    if start < length:
        warnings.warn(
            f"{path}: recording goes on from step {start}; the recorded steps {start} … {length - 1} are overwritten",
            stacklevel=5,
        )
    # Also at the end: a recorder that was killed may have left batches and states of steps that it never committed.
    truncate(path, start, header.attributes)
    header = replace(header, length=-1)
    if subject.average is not None and start:
        subject.average.goes_on()
    write_header(path, header)
    return Start(lock, header, start, stored, _last_phase(path) if stored else "")


def _last_phase(path: Path) -> str:
    last = cover(segments_in((entry.name for entry in path.iterdir()), "steps"))[-1]
    with opened(path / last.name) as dataset:
        return str(read_column(dataset, "phase").values[-1])


def _place(path: Path, present: State, length: int) -> tuple[int, bool]:
    """Return the latest stored step whose state the model is in, and whether the optimizer is too (or is fresh)."""
    for step in reversed(states_in(entry.name for entry in path.iterdir())):
        if 0 < step <= length:
            with opened(path / state_name(step)) as dataset:
                stored = read_state(dataset)
            if _equal(stored.parameters, present.parameters):
                alike = stored.optimizer.keys() == present.optimizer.keys() and all(
                    _equal(stored.optimizer[slot], present.optimizer[slot]) for slot in present.optimizer
                )
                if alike or not present.optimizer:
                    return step, alike
    raise AadslError(
        f"{path} holds a run of {length} steps, and the model and optimizer are at no stored state of it",
        hint="say overwrite=True to replace it, step=… to continue it from a checkpoint of your own,"
        " or record into a new folder",
    )


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _same_subject(path: Path, header: Header, new: Header) -> None:
    if header.optimizer != new.optimizer:
        raise AadslError(
            f"{path} was recorded with {header.optimizer}, not {new.optimizer}",
            hint="record into a new folder; open_trajectory([first, second]) joins them",
        )
    before, now = (
        {name: (spec, one.optimizers[spec.group]) for name, spec in one.parameters.items()} for one in (header, new)
    )
    if before != now:
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        raise AadslError(
            f"{path} was recorded with other parameters: {', '.join(names[:5])}",
            hint="record into a new folder; open_trajectory([first, second]) joins them",
        )


def _same_promises(path: Path, header: Header, new: Header) -> None:
    """Raise AadslError where the loop that continues a run says something else of it than the one that began it."""
    said = {
        "clip=": (header.clip, new.clip),
        "accumulate=": (header.accumulation, new.accumulation),
        "averaged=": (bool(header.average), bool(new.average)),
        "generators=": tuple(each.provenance.get("generators") for each in (header, new)),
        "frozen weights": tuple(each.fingerprints.get("frozen", {}) for each in (header, new)),
        "data": tuple(each.fingerprints.get("data", {}) for each in (header, new)),
    }
    if not all(said["data"]):  # data need not be given
        del said["data"]
    for what, (before, now) in said.items():
        if before != now:
            raise AadslError(
                f"{path} was recorded with other {what}",
                hint="record into a new folder; open_trajectory([first, second]) joins them",
            )
