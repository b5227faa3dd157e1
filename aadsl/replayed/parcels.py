"""Runs and questions as bytes on their way to other processes, and what is done with them there."""

from __future__ import annotations

import hashlib
import io
import pickle
import platform
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, NoReturn

import cloudpickle
import torch

from aadsl.core.errors import AadslError
from aadsl.core.version import __version__
from aadsl.replayed.history import History
from aadsl.replayed.run_spec import RunSpec, looks

INLINE = 1 << 18  # bytes of a run that travel with every task; more is read once, from a file

WorkerTask = Callable[[History, Any], Any]
"""What a worker does: ``task(history, item)``."""

_turn = RLock()
"""Threads of one process share PyTorch's random generators, its choice of kernels, and netCDF: one at a time."""


def _versions() -> tuple[str, str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return __version__, torch.__version__.partition("+")[0], python  # builds for other devices go together


@dataclass(frozen=True)
class Parcel:
    """A pickled :class:`RunSpec` on its way; two are equal where they hold the same bytes.

    Attributes:
        digest: of the bytes.
        content: the bytes themselves where they are few.
        path: the file they are in where they are many.
        threads: how many threads PyTorch may use where it arrives, in a process on this machine; 0 where that may be
            another one, for as many as it does.
        versions: of aadsl, PyTorch and Python where it was packed.
    """

    digest: str
    content: bytes | None = field(default=None, compare=False, repr=False)
    path: str = field(default="", compare=False)
    threads: int = field(default=0, compare=False)
    versions: tuple[str, ...] = field(default_factory=_versions, compare=False)

    @classmethod
    def of(cls, spec: RunSpec, folder: Path | None, threads: int = 0) -> Parcel:
        """Pack ``spec``, into a new file in ``folder``, by default the one for temporary files.

        What is small goes to other machines without a file. On this one the file also says that the work is wanted.

        Raises:
            AadslError: a part of it cannot be pickled.
        """
        content = pickled(spec)
        digest = hashlib.sha256(content).hexdigest()
        if len(content) <= INLINE and not threads:
            return cls(digest, content, threads=threads)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".aadsl-", suffix=".run", delete=False) as file:
            file.write(content)
        return cls(digest, path=file.name, threads=threads)

    def remove(self) -> None:
        """Remove the file, if there is one."""
        if self.path:
            Path(self.path).unlink(missing_ok=True)

    def require_same_versions(self) -> None:
        """Raise AadslError where other versions are installed than where this was packed."""
        if self.versions != _versions():
            theirs, ours = ("aadsl {}, PyTorch {} and Python {}".format(*v) for v in (_versions(), self.versions))
            raise AadslError(f"a worker has {theirs}; here it is {ours}", hint="install the same versions everywhere")

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            AadslError: the file cannot be read here, or holds others.
        """
        if self.content is not None:
            return self.content
        try:
            content = Path(self.path).read_bytes()
        except OSError as error:
            raise AadslError(
                f"the workers do not see {self.path}, through which model and data reach them",
                hint="put the run into a folder that all machines can read, and where you can write",
            ) from error
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise AadslError(f"{self.path} has changed on its way to the workers", hint="ask again")
        return content


def perform(parcel: Parcel, work: bytes) -> bytes:
    """Do a pickled (task, item) on the run of a parcel, in a worker, and return the pickled result.

    All of it is bytes, so that nothing depends on how an executor pickles tensors and what is defined in a notebook.

    Raises:
        AadslError: the run cannot be opened here.
        CancelledError: the work was called off before it began; a process takes some from the queue ahead.
    """
    if parcel.threads and not Path(parcel.path).exists():
        raise CancelledError
    parcel.require_same_versions()
    with _turn:
        if parcel.threads:
            torch.set_num_threads(parcel.threads)
        run = _opened(parcel)
        if run.has_changed():
            _opened.cache_clear()
            run = _opened(parcel)
        task, item = unpickled(work, "the question")
        try:
            done = task(run.history, item)
        except Exception as error:  # whatever a user's model, loss or metric raises
            done = RaisedThere.of(error)
        return pickle.dumps(done)


def received(content: bytes) -> Any:
    """Return what :func:`perform` sent back, or raise it."""
    done = pickle.loads(content)
    if isinstance(done, RaisedThere):
        raise done.error()
    return done


class RaisedThere(NamedTuple):
    """An error that a task raised: executors take one that cannot be unpickled for the death of a worker."""

    said: str
    content: bytes

    @classmethod
    def of(cls, error: Exception) -> RaisedThere:
        """Pack an error; the lines of code that led to it go along as a note."""
        if not isinstance(error, AadslError):
            error.add_note("raised in a worker:\n" + "".join(traceback.format_tb(error.__traceback__)))
        said = f"{type(error).__name__}: {error}"
        try:
            return cls(said, cloudpickle.dumps(error))
        except Exception:  # whatever a user's own __reduce__ raises
            return cls(said, b"")

    def error(self) -> Exception:
        """Return the error, or one in words where it cannot be unpickled."""
        try:
            error = pickle.loads(self.content)
        except Exception:
            return AadslError(f"a worker raised {self.said}")
        return error if isinstance(error, Exception) else AadslError(f"a worker raised {self.said}")


class OpenRun:
    """A history, and how its files looked when it was opened."""

    def __init__(self, spec: RunSpec) -> None:
        self._looks = looks(spec.trajectory)
        self.history = spec.history()

    def has_changed(self) -> bool:
        """Return whether the files look otherwise now: what is open must not answer for what lies there."""
        return looks(self.history.trajectory) != self._looks


@lru_cache(maxsize=1)
def _opened(parcel: Parcel) -> OpenRun:
    """Open the run of a parcel, or return the open one: the digest of its bytes covers that of the recording."""
    return OpenRun(unpickled(parcel.read(), "the model, the loss or the data"))


class SharedRun:
    """The run for the threads of this process: nothing is pickled; its files, model and states are its own."""

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._run: OpenRun | None = None

    def perform(self, task: WorkerTask, item: Any) -> Any:
        """Do ``task(history, item)`` when no other thread does."""
        with _turn:
            if self._run is None or self._run.has_changed():
                self._run = OpenRun(self._spec.opened_again())
            return task(self._run.history, item)


def pickled(value: Any) -> bytes:
    """Return ``value`` as bytes, with the code of what is defined in a notebook or script.

    PyTorch's own format, because pickled by themselves tensors tell where they lie in memory, and equal runs would
    differ.

    Raises:
        AadslError: it cannot be pickled.
    """
    content = io.BytesIO()
    try:
        torch.save(value, content, pickle_module=cloudpickle, pickle_protocol=pickle.HIGHEST_PROTOCOL)
        return content.getvalue()
    except AadslError:
        raise
    except Exception as error:  # whatever a user's own __reduce__ raises
        _blame(value, error)


def _blame(value: Any, error: Exception) -> NoReturn:
    """Raise AadslError that names the part which cannot be pickled."""
    parts = {name: getattr(value, name) for name in _HINTS} if isinstance(value, RunSpec) else {}
    for name, part in parts.items():
        try:
            cloudpickle.dumps(part)
        except Exception as reason:
            raise AadslError(f"{name}= cannot be sent to workers: {reason}", hint=_HINTS[name]) from reason
    raise AadslError(f"the question cannot be sent to workers: {error}", hint=_HINTS["loss"]) from error


_HINTS = {
    "model": "keep open files, locks, weak references, loggers and connections out of the model's attributes",
    "loss": "let functions reach for open files, locks and connections when they are called, not keep them",
    "data": "let the dataset open its files when an example is first taken (in __getitem__), or give tensors",
}


def unpickled(content: bytes, what: str) -> Any:
    """Return what the bytes hold.

    Raises:
        AadslError: they need what is not there.
    """
    try:
        return torch.load(io.BytesIO(content), weights_only=False)
    except AadslError:
        raise
    except Exception as error:  # whatever a user's own code raises when it is imported
        raise AadslError(
            f"a worker cannot load {what}: {type(error).__name__}: {error}",
            hint="install the module there, send it (with Dask: client.upload_file), define its content in the "
            "notebook, or let it travel: cloudpickle.register_pickle_by_value(module)",
        ) from error
