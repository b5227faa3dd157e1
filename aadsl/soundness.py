"""Whether the run is what happened: found out before its first answer is computed, and remembered.

A wrong data set or loss gives numbers as smooth as the right one, so they are not computed: a spot check of the
trajectory comes first. That it passed is remembered under the digest of all that it depends on, beside the effects.
"""

from __future__ import annotations

from aadsl.cache import Effects
from aadsl.errors import AadslError
from aadsl.propagation import Progress
from aadsl.verification import Report, verify_history

PASSED = "the spot check of the trajectory passed"
WAY_OUT = "to score it nevertheless, say so: Study(…, unverified=True), in a cell: load … with …, unverified=true"


class Soundness:
    """What is known of the trajectory whose ``effects`` are asked for.

    Args:
        effects: they wait for the check before they compute anything.
        tolerated: whether answers are given on a trajectory that fails.
    """

    def __init__(self, effects: Effects, tolerated: bool = False) -> None:
        self._effects, self.tolerated = effects, tolerated
        self._report: Report | None = None
        self._key: str | None = None
        effects.before = self.require

    def verify(self, samples: int, progress: Progress) -> Report:
        """Verify as thoroughly as asked; where it fails, no answer is given any more."""
        self._report = verify_history(self._effects.history, samples, progress)
        try:
            self._key = self._effects.key(PASSED)
        except AadslError:  # files that are damaged have no digest; the report says so
            self._key = None
        return self._report

    def require(self, progress: Progress) -> Report | None:
        """Make sure that a check was made; return what it found, None where an earlier one is known to have passed.

        Raises:
            AadslError: the trajectory fails, and that is not tolerated.
        """
        key = self._effects.key(PASSED)
        if self._report is None or key != self._key:
            self._key, self._report = key, None
            if not self._effects.remembers(key):
                self._report = verify_history(self._effects.history, None, progress)
                if self._report.ok:
                    self._effects.remember(key)
        if self._report is not None and not self.tolerated:
            self._report.require(hint=WAY_OUT)
        return self._report

    def doubts(self, progress: Progress) -> dict[str, str]:
        """Return what an answer has to say of a trajectory that fails, as attributes; nothing where it is sound.

        An answer that was kept is of a trajectory that passed, so nothing is checked for it; answers on a trajectory
        that fails are kept apart.

        Raises:
            AadslError: the trajectory is known to fail, and that is not tolerated.
        """
        if not self.tolerated and (self._report is None or self._report.ok):
            return {}
        report = self.require(progress)
        failed = report is not None and not report.ok
        self._effects.mark = "unverified" if failed else ""
        if report is None or not failed:
            return {}
        return {"unverified": report.failure, "unverified_cause": ", ".join(dict.fromkeys(report.causes))}
