"""Whether the run is what happened: found out before an answer is computed, and remembered.

A wrong data set or loss gives numbers as smooth as the right one, so they are not computed: a spot check of the
trajectory comes first. What is called exact needs more: from the first step that differs to the end every stored state
was compared with its replay, by a control run. A sweep replays all stretches anyway, and compares them on its way. What
passed is remembered under the identity of the run, beside the effects, so each stretch is replayed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.replayed.history import History
from aadsl.study.entries import EntryStore
from aadsl.study.identity import Identity
from aadsl.verification import Compared, DiffersError, Passing, Report, spots, verify_history

PASSED = "the spot check of the trajectory passed"
COMPARED = "stretches between stored states that were compared with their replay"
WAY_OUT = "to score it nevertheless, say so: Study(…, unverified=True), in a cell: load … with …, unverified=true"
MARK = "unverified"

Guarded = TypeVar("Guarded")


@dataclass(frozen=True)
class Doubt:
    """Why a trajectory fails verification: in full, and the short names of the causes; both empty where it does not."""

    failure: str = ""
    causes: str = ""

    @property
    def attributes(self) -> dict[str, str]:
        """What an answer has to say of it; nothing where there is no doubt."""
        return {"unverified": self.failure, "unverified_cause": self.causes} if self.failure else {}

    def marked(self, identity: Identity) -> Identity:
        """Return the identity under which answers are kept: apart, where the trajectory fails."""
        return replace(identity, mark=MARK) if self.failure else identity


@dataclass(frozen=True)
class Control:
    """What a control run found from a step on.

    Attributes:
        doubt: why the trajectory is in doubt.
        same_bits: whether every stored state has the bits of its replay, so that a run is its own control.
        uncompared: the steps, in words, that no stored state follows, so that their replay is compared with nothing.
    """

    doubt: Doubt
    same_bits: bool
    uncompared: str


class SpotCheck:
    """What is known of the trajectory of a run.

    Args:
        history: the run.
        entries: where it is remembered that the check passed.
        tolerated: whether answers are given on a trajectory that fails.
    """

    def __init__(self, history: History, entries: EntryStore, tolerated: bool = False) -> None:
        self._history, self._entries, self.tolerated = history, entries, tolerated
        self._report: Report | None = None
        self._reported: str | None = None  # the identity that the report is of
        self._compared: dict[tuple[int, int], bool] = {}

    def verify(self, samples: int, identity: Identity | None, progress: Progress) -> Report:
        """Verify as thoroughly as asked; where it fails, no answer is given any more.

        ``identity`` is None where files are damaged, which the report then says.
        """
        if identity is not None:
            self._turn_to(identity)
        self._report = verify_history(self._history, samples, progress)
        self._reported = None if identity is None else identity.digest
        if identity is not None:
            self._remember(identity)
        return self._report

    def require(self, identity: Identity, progress: Progress) -> Doubt:
        """Make sure that a check was made; return why the trajectory is in doubt.

        Raises:
            AadslError: the trajectory fails, and that is not tolerated.
        """
        self._turn_to(identity)
        if self._report is None and not self._passed(identity):
            self._report = verify_history(self._history, None, progress)
            self._remember(identity)
        return self._accepted()

    def control(self, identity: Identity, first: int, progress: Progress) -> Control:
        """Make sure that every state stored after step ``first`` was compared with its replay.

        Raises:
            AadslError: the trajectory fails, and that is not tolerated.
        """
        self._turn_to(identity)
        stretches = self.stretches(first)
        bits = self._bits(identity)
        missing = [stretch for stretch in stretches if stretch not in bits]
        if missing and (self._report is None or self._report.ok):
            if not self._passed(identity):
                missing = sorted({*missing, *spots(self._history)})
            self._report = verify_history(self._history, None, progress, missing)
            bits = self._remember(identity)
        doubt = self._accepted()
        known = [stretch for stretch in stretches if stretch in bits]
        same = len(known) == len(stretches) and all(bits[stretch] for stretch in known)
        return Control(doubt, same, self._uncompared())

    @contextmanager
    def passing(self, identity: Identity) -> Iterator[None]:
        """Compare the stored states that replays inside the block pass over.

        Raises:
            DiffersError: a replay ends elsewhere than the run.
        """
        passing = Passing(self._history, self._bits(identity))
        self._history.witness = passing
        try:
            yield
        finally:
            self._history.witness = None
            if passing.compared:
                self._keep(identity, passing.compared)

    def differing(self, identity: Identity, error: DiffersError, progress: Progress) -> Doubt:
        """Return why a stretch differs that a replay passed over.

        Raises:
            AadslError: that is not tolerated.
        """
        stretches = sorted({error.stretch, *spots(self._history)})  # to tell what is wrong from what is not
        self._report = verify_history(self._history, None, progress, stretches)
        self._remember(identity)
        return self._accepted()

    def guarded(
        self, identity: Identity, progress: Progress, sweep: Callable[[Identity], Guarded]
    ) -> tuple[Guarded, Doubt]:
        """Return what ``sweep`` computes under an identity, and why the run is in doubt: stored states are compared.

        Raises:
            AadslError: the trajectory fails, and that is not tolerated.
        """
        doubt = self.require(identity, progress)
        try:
            with nullcontext() if doubt.failure else self.passing(identity):
                return sweep(doubt.marked(identity)), doubt
        except DiffersError as error:
            doubt = self.differing(identity, error, progress)
            return sweep(doubt.marked(identity)), doubt

    def _uncompared(self) -> str:
        last, length = self._history.trajectory.checkpoints[-1], self._history.length
        return "" if last >= length else f"step {last}" if last + 1 == length else f"steps {last} … {length - 1}"

    def stretches(self, first: int) -> list[tuple[int, int]]:
        """Return the stretches between stored states that step ``first`` and those after it lie in."""
        length = self._history.length
        return [pair for pair in pairwise(self._history.trajectory.checkpoints) if pair[1] > first and pair[0] < length]

    def left_to_compare(self, identity: Identity, first: int) -> int:
        """Return how many steps a control run from ``first`` on has to replay."""
        bits = self._bits(identity)
        return sum(stop - start for start, stop in self.stretches(first) if (start, stop) not in bits)

    def _turn_to(self, identity: Identity) -> None:
        """Forget what was found of what is no longer the run, its data, model or loss."""
        if identity.digest != self._reported:
            self._report, self._reported, self._compared = None, identity.digest, {}

    def _passed(self, identity: Identity) -> bool:
        key = identity.key(PASSED).digest
        return key is not None and self._entries.find(key) is not None

    def _bits(self, identity: Identity) -> dict[tuple[int, int], bool]:
        """Return the stretches that were compared, and whether every bit was the same."""
        key = identity.key(COMPARED).digest
        entry = None if key is None else self._entries.find(key)
        if entry is None or not _stretches(entry.get("stretches")):
            return dict(self._compared)
        return {(int(start), int(stop)): bool(same) for start, stop, same in entry["stretches"]}

    def _remember(self, identity: Identity) -> dict[tuple[int, int], bool]:
        """Keep what the newest report compared, and that it passed; return all that was compared so far."""
        assert self._report is not None  # it was just made
        passed = identity.key(PASSED).digest
        if self._report.ok and passed is not None:
            self._entries.keep({passed: {"so": np.ones(1)}})
        return self._keep(identity, self._report.compared, lasting=self._report.ok)

    def _keep(self, identity: Identity, found: Sequence[Compared], lasting: bool = True) -> dict[tuple[int, int], bool]:
        """Add what was compared to what is known; ``lasting``: also beside the effects."""
        self._compared = self._bits(identity) | {(one.start, one.stop): one.exact for one in found}
        compared = identity.key(COMPARED).digest
        if lasting and compared is not None:
            rows = [(start, stop, same) for (start, stop), same in sorted(self._compared.items())]
            self._entries.keep({compared: {"stretches": np.array(rows, dtype=np.float64).reshape(-1, 3)}})
        return self._compared

    def _accepted(self) -> Doubt:
        if self._report is not None and not self.tolerated:
            self._report.require(hint=WAY_OUT)
        return self.known

    @property
    def known(self) -> Doubt:
        """What is known so far, without a check."""
        if self._report is None or self._report.ok:
            return Doubt()
        return Doubt(self._report.failure, ", ".join(dict.fromkeys(self._report.causes)))


def _stretches(rows: NDArray[np.float64] | None) -> bool:
    """Return whether these are stretches: (n, 3) start, stop and whether the bits were the same."""
    return rows is not None and rows.ndim == 2 and rows.shape[1] == 3 and bool(np.isfinite(rows).all())
