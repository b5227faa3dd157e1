"""Whether the run is what happened: found out before its first answer is computed, and remembered.

A wrong data set or loss gives numbers as smooth as the right one, so they are not computed: a spot check of the
trajectory comes first. That it passed is remembered under the identity of the run, beside the effects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aadsl.core.progress import Progress
from aadsl.replayed.history import History
from aadsl.study.entries import EntryStore
from aadsl.study.identity import Identity
from aadsl.verification import Report, verify_history

PASSED = "the spot check of the trajectory passed"
WAY_OUT = "to score it nevertheless, say so: Study(…, unverified=True), in a cell: load … with …, unverified=true"
MARK = "unverified"


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

    def verify(self, samples: int, identity: Identity | None, progress: Progress) -> Report:
        """Verify as thoroughly as asked; where it fails, no answer is given any more.

        ``identity`` is None where files are damaged, which the report then says.
        """
        self._report = verify_history(self._history, samples, progress)
        self._reported = None if identity is None else identity.digest
        return self._report

    def require(self, identity: Identity, progress: Progress) -> Doubt:
        """Make sure that a check was made; return why the trajectory is in doubt.

        Raises:
            AadslError: the trajectory fails, and that is not tolerated.
        """
        if self._report is None or identity.digest != self._reported:
            self._report, self._reported = None, identity.digest
            key = identity.key(PASSED).digest
            if key is None or self._entries.find(key) is None:
                self._report = verify_history(self._history, None, progress)
                if self._report.ok and key is not None:
                    self._entries.keep({key: {"so": np.ones(1)}})
        if self._report is not None and not self.tolerated:
            self._report.require(hint=WAY_OUT)
        return self.known

    @property
    def known(self) -> Doubt:
        """What is known so far, without a check."""
        if self._report is None or self._report.ok:
            return Doubt()
        return Doubt(self._report.failure, ", ".join(dict.fromkeys(self._report.causes)))
