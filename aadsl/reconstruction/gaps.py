"""Gaps between checkpoints, trained again, recorded, and compared with the checkpoint that they lead to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from aadsl.core.errors import AadslError
from aadsl.core.exclusive import turn
from aadsl.core.generators import global_ones, left_as_they_were
from aadsl.core.progress import Progress, silent
from aadsl.reconstruction.checkpoints import Checkpoint, GivenCheckpoint
from aadsl.reconstruction.recipe import Recipe, Trainer
from aadsl.replayed.history import History
from aadsl.trajectory import Gap, open_trajectory
from aadsl.trajectory.store.files import opened
from aadsl.trajectory.store.header import NAME, Header, read_header, write_header
from aadsl.verification.rounding import rounding_of
from aadsl.verification.stretch import Stretch

CARRIED = "the optimizer's state was not kept: it is that with which the steps before end"
WARMED = "the optimizer's state was not kept: it was warmed up on these very steps"


@dataclass(frozen=True)
class Stint:
    """Checkpoints that follow on each other, of which only the first may be begun with alone.

    Attributes:
        folder: of the whole reconstruction.
        checkpoints: by step.
        first, last: whether they are the first of all, and the last.
        tolerance: mismatch that needs no explanation.
    """

    folder: Path
    checkpoints: Mapping[int, GivenCheckpoint]
    first: bool
    last: bool
    tolerance: float

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The gaps."""
        steps = sorted(self.checkpoints)
        return list(pairwise(steps))

    @property
    def names(self) -> list[str]:
        """The folders that it makes."""
        own = [f"{start}-{stop}" for start, stop in self.pairs]
        return [*own, f"{self.pairs[-1][1]}-{self.pairs[-1][1]}"] if self.last else own

    def is_done(self) -> bool:
        """Return whether its gaps were trained again before, between the same checkpoints, and agree."""
        headers = [_header(self.folder / name) for name in self.names]
        if not all(one is not None and one.reconstructed and one.length >= 0 for one in headers):
            return False
        notes = [one.reconstructed for one in headers if one is not None]
        digests = {step: Checkpoint.read(step, given).digest for step, given in self.checkpoints.items()}
        bounds = [(digests[start], digests[stop]) for start, stop in self.pairs]
        alike = all((n["begun"], n["aimed"]) == own for n, own in zip(notes, bounds, strict=False))
        return alike and all(note["verdict"] != "approximate" for note in notes)


def train(recipe: Recipe, stint: Stint, progress: Progress = silent) -> None:
    """Train the gaps of a stint again, and note of each where it ended. Random generators stay as they were.

    Raises:
        AadslError: a checkpoint does not fit, or a step cannot be taken or recorded.
    """
    with turn(progress), left_as_they_were(global_ones(recipe.device)):
        _Training(recipe, stint, progress).run()


class _Training:
    def __init__(self, recipe: Recipe, stint: Stint, progress: Progress) -> None:
        self._recipe, self._stint, self._progress = recipe, stint, progress
        self._trainer = Trainer(recipe)
        self._done = 0

    def run(self) -> None:
        stint = self._stint
        checkpoint = self._read(stint.pairs[0][0])
        self._trainer.put(checkpoint)
        for start, stop in stint.pairs:
            remark = self._prepare(checkpoint, range(start, stop))
            path = stint.folder / f"{start}-{stop}"
            with self._trainer.recorder(path, self._recipe.accumulate) as recorder:
                for step in range(start, stop):
                    self._trainer.take(step, recorder)
                    self._done += 1
                    self._progress("training again", self._done, stint.pairs[-1][1] - stint.pairs[0][0])
            rates = [group["lr"] for one in self._trainer.optimizers for group in one.param_groups]
            begun, checkpoint = checkpoint, self._read(stop)
            self._trainer.put(checkpoint)
            whole = stint.last and stop == stint.pairs[-1][1]
            target = stint.folder / (f"{stop}-{stop}" if whole else f".{start}-{stop}")
            self._trainer.recorder(target).close()
            gap = compared(self._recipe, path, target, stint.tolerance, afresh=not self._trainer.keeps_state)
            if gap.verdict == "approximate" and self._recipe.schedule is None and checkpoint.rates() not in ([], rates):
                remark = "; ".join(filter(None, [remark, "the learning rate changed, and no schedule= was given"]))
            _note(path, replace(gap, remark=remark), begun.digest, checkpoint.digest)
            if whole:
                _note(target, Gap(0, 0, 0.0, 0.0, "exact"), checkpoint.digest, "")
            else:
                shutil.rmtree(target)

    def _prepare(self, checkpoint: Checkpoint, steps: range) -> str:
        """Give the optimizers a state where none was kept; return what is to be said of it."""
        if checkpoint.optimizers is not None or steps[0] == 0:
            return ""
        if self._stint.first and steps[0] == self._stint.pairs[0][0]:
            for step in steps:
                self._trainer.take(step)
            self._trainer.put(checkpoint)
            return WARMED if self._trainer.keeps_state else ""
        return CARRIED if self._trainer.keeps_state else ""

    def _read(self, step: int) -> Checkpoint:
        return Checkpoint.read(step, self._stint.checkpoints[step])


def compared(recipe: Recipe, path: Path, target: Path, tolerance: float, *, afresh: bool) -> Gap:
    """Return where a recorded gap ends, beside the checkpoint that the recording ``target`` begins with.

    ``afresh``: the optimizers start anew there, so that it does not matter what they kept.
    """
    trajectory = open_trajectory([path, target])
    given = {"model": recipe.model, "loss": recipe.loss, "data": recipe.data, "optimizer": recipe.optimizer}
    history = History(trajectory, **given, device=recipe.device)
    stretch = Stretch(history, 0, trajectory.length, tolerance)
    stretch.outcome = history.flat(trajectory.chain.left(trajectory.length), trajectory.length)
    if afresh:
        stretch.target = stretch.target._replace(slots=stretch.outcome.slots)
    found = Gap(0, trajectory.length, stretch.deviation, tolerance, "agrees")
    if stretch.exact:
        return replace(found, verdict="exact", explained=0.0)
    if stretch.fits:
        return found
    rounding = rounding_of(stretch)
    reach = float("inf") if rounding.decides else rounding.rest.tolerance
    return replace(found, explained=reach, verdict="agrees" if rounding.explains else "approximate")


def stints_of(
    checkpoints: Mapping[int, GivenCheckpoint], folder: Path, tolerance: float, keeps_optimizer: Callable[[int], bool]
) -> list[Stint]:
    """Return the gaps as stints: a new one begins where the state of the optimizer was kept, too."""
    steps = sorted(checkpoints)
    begins = [step for step in steps[:-1] if step == steps[0] or keeps_optimizer(step)]
    found = []
    for begin, end in zip(begins, [*begins[1:], steps[-1]], strict=True):
        own = {step: checkpoints[step] for step in steps if begin <= step <= end}
        found.append(Stint(folder, own, begin == steps[0], end == steps[-1], tolerance))
    return found


def require_room(folder: Path, stints: Sequence[Stint], overwrite: bool) -> None:
    """Make sure that nothing else lies in a folder; what does is removed where it may be.

    Raises:
        AadslError: a recording, or gaps between other checkpoints, lie there.
    """
    if (folder / NAME).exists():
        hint = "name a folder of its own"
        raise AadslError(f"{folder} holds a recorded run", hint=hint)
    own = {name for stint in stints for name in stint.names}
    others = [p for p in folder.glob("*-*") if p.name not in own and (p / NAME).exists()] if folder.exists() else []
    if others and not overwrite:
        raise AadslError(
            f"{folder} holds what was trained again between other checkpoints: {', '.join(p.name for p in others[:3])}",
            hint="say overwrite=True to replace it, or name another folder",
        )
    for other in others:
        shutil.rmtree(other)


def _header(path: Path) -> Header | None:
    """Return the header of a recording; None where there is none, or it is damaged."""
    with suppress(AadslError, OSError), opened(path / NAME) as dataset:
        return read_header(dataset)
    return None


def _note(path: Path, gap: Gap, begun: str, aimed: str) -> None:
    """Write into a recording where it ended."""
    with opened(path / NAME) as dataset:
        header = read_header(dataset)
    note = {key: value for key, value in asdict(gap).items() if key not in ("start", "stop")}
    write_header(path, replace(header, reconstructed=note | {"begun": begun, "aimed": aimed}))
