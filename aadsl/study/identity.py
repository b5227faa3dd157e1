"""What answers about a run depend on, apart from the question, as one digest.

It covers the recorded run, the data its batches used, the model's code and its weights that were not trained, the loss,
an optimizer's code where that takes its steps itself, which model of it is asked about, the device's type, the
engine's own code, and the versions of Python and PyTorch. Whatever of it changes, the digest is another one, so nothing
that is kept under it is ever out of date.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from aadsl.core.progress import Progress, silent
from aadsl.core.version import __version__
from aadsl.data.examples import Examples
from aadsl.propagation import Objective
from aadsl.replayed.history import History
from aadsl.study.example_digests import ExampleDigests
from aadsl.study.fingerprint import NoFingerprint, code_fingerprint, fingerprint, model_fingerprint

# What shows answers and reads programs decides no number; all other sources of the package may.
APART = {"charts", "integrations", "language", "statements"}


@dataclass(frozen=True)
class Key:
    """Under what something is kept: a digest, or ``why`` there is none, so that nothing is kept."""

    digest: str | None
    why: str = ""


@dataclass(frozen=True)
class Identity:
    """The digest of a run with all that replaying it uses, or ``why`` it has none.

    ``mark`` keeps answers apart from those that have another mark.
    """

    digest: str | None
    why: str = ""
    mark: str = ""

    def key(self, *values: Any) -> Key:
        """Return the key of what depends on the run and on ``values``."""
        if self.digest is None:
            return Key(None, self.why)
        try:
            return Key(fingerprint(self.digest, *values, *([self.mark] if self.mark else [])))
        except NoFingerprint as unknown:
            return Key(None, str(unknown))


class Identifier:
    """Tells the identity of a run as it is now: data in memory, a loss and a model may change between two questions.

    ``latest`` is the one that was told last.
    """

    def __init__(self, history: History, digests: ExampleDigests) -> None:
        self.history, self._digests = history, digests
        self._latest: str | None = None
        self.latest = Identity(None, "nothing was asked")
        with suppress(NoFingerprint):  # said when it is asked for
            self._model  # noqa: B018  (before forward passes leave something behind in its attributes)

    def now(self, progress: Progress = silent) -> Identity:
        """Return the identity; every file of the run is read the first time.

        Raises:
            AadslError: a file of the trajectory is damaged, so it has no digest; or another run was recorded there.
        """
        identity = self._identity(progress)
        if identity.digest is None or identity.digest != self._latest:
            self.history.batches.forget()  # they may be of data that were changed since
        self._latest, self.latest = identity.digest, identity
        return identity

    def _identity(self, progress: Progress) -> Identity:
        history, objectives = self.history, self._objectives
        history.trajectory.require_same()
        self._digests.begin()
        recorded = history.trajectory.digested(progress)
        try:
            data = fingerprint(*(self._digests.of(examples, self._drawn) for examples in self._used))
            parts = [part for one in objectives for part in (code_fingerprint(one.model), one.hooks)]
            model, loss = fingerprint(self._model, *parts), fingerprint(*(one.loss for one in objectives))
            steps = [fingerprint(*history.made_of)] if history.made_of else []
        except NoFingerprint as unknown:
            return Identity(None, str(unknown))
        said = [(begin.anew, *map(astuple, begin.merges)) for begin in history.trajectory.chain.beginnings]
        ended = [*([] if history.asked is None else [history.asked]), *([said] if said else [])]
        return Identity(fingerprint(recorded, model, loss, data, *steps, *ended, history.device.type, engine_digest()))

    @cached_property
    def _model(self) -> str:
        buffers, names = self.history.trajectory.buffers, self.history.models.names
        known = zip(self._objectives, names if len(self._objectives) > 1 else names[-1:], strict=True)
        found = [model_fingerprint(one.model, frozenset([*own.values(), *buffers])) for one, own in known]
        return found[0] if len(found) == 1 else fingerprint(*found)

    @property
    def _objectives(self) -> Sequence[Objective]:
        """The loss and model of each run, or of all."""
        return self.history.objective.runs or [self.history.objective]

    @cached_property
    def _drawn(self) -> bool:
        """Whether random numbers that a loader drew are recorded, so that data may be others each time."""
        trajectory = self.history.trajectory
        starts = (job.start for job in trajectory.jobs if job.start < job.stop)
        return any(state for start in starts for state in trajectory.rng_states(start, loader=True))

    @cached_property
    def _used(self) -> list[Examples]:
        """The examples that each run used, each once; none where the batches themselves were recorded."""
        trajectory = self.history.trajectory
        used = []
        for job, part in enumerate(self.history.data.parts):
            if part is not None:
                used.append(part.select(trajectory.used(job)))
        return used


def engine_sources() -> list[Path]:
    """Return every source of the package that may decide a number, in a fixed order."""
    package = Path(__file__).parents[1]
    return [path for path in sorted(package.rglob("*.py")) if path.relative_to(package).parts[0] not in APART]


@cache
def engine_digest() -> str:
    """Return the digest of everything in aadsl that computes effects, and of the versions of PyTorch and Python."""
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {platform.python_version()}".encode())
    for path in engine_sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()
