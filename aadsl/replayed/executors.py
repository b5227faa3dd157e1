"""Where tasks on one run are done: local processes of our own, or an executor that was given."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from aadsl.core.errors import AadslError
from aadsl.replayed.parcels import Parcel, SharedRun, WorkerTask, perform, pickled, received
from aadsl.replayed.run_spec import RunSpec

IDLE = 300.0  # seconds after which a local process that has nothing to do ends
FRESH_POOLS = 3  # how often the tasks of killed processes are done again
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",  # the data and batches that a run keeps are no leak to start anew for
}

Submit: TypeAlias = Callable[[WorkerTask, Any], "Future[Any]"]


class Workplace(Protocol):
    """Where tasks are done."""

    def on(self, spec: RunSpec) -> AbstractContextManager[Submit]:
        """Bring a run there; what is given submits a task and its item."""

    def result(self, future: Future[Any]) -> Any:
        """Return what a finished task returned; raise what it raised, or BrokenExecutor where it is worth a new try."""

    def close(self) -> None:
        """End what was started."""


class LocalPool:
    """Processes on this machine, which start when they are needed and are killed when their work is called off."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: Any = None
        self._end: Callable[[], object] = lambda: None
        self._broken = 0
        self._at_work: set[Future[Any]] = set()

    @contextmanager
    def on(self, spec: RunSpec) -> Iterator[Submit]:
        """Bring a run to them."""
        parcel = Parcel.of(spec, None, threads=1)
        self._broken = 0
        try:
            yield lambda task, item: self._submit(task, item, parcel)
        finally:
            if not all(future.done() for future in list(self._at_work)):  # called off while processes are at work
                self.close()
            parcel.remove()

    def result(self, future: Future[Any]) -> Any:
        """Return the result of a task.

        Raises:
            BrokenExecutor: its process was killed.
            AadslError: processes were killed again and again.
        """
        with self._counting():
            content = future.result()
        return received(content)

    def close(self) -> None:
        """End all processes, whatever they do."""
        self._pool = None
        self._end()

    def _submit(self, task: WorkerTask, item: Any, parcel: Parcel) -> Future[Any]:
        with self._counting():
            if self._pool is None:
                import loky  # only who wants local processes waits for it

                self._pool = loky.ProcessPoolExecutor(self._count, timeout=IDLE, env=ENVIRONMENT)
                # Also where nobody holds this any more, and before Python takes apart what ending them needs.
                self._end = weakref.finalize(self, self._pool.shutdown, wait=True, kill_workers=True)
            future: Future[Any] = self._pool.submit(perform, parcel, pickled((task, item)))
            self._at_work.add(future)
            future.add_done_callback(self._at_work.discard)
            return future

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Let processes that were killed be replaced, but not for ever."""
        try:
            yield
        except BrokenExecutor as error:
            self.close()
            self._broken += 1
            if self._broken > FRESH_POOLS:
                raise AadslError(
                    f"local workers were killed {self._broken} times: did they run out of memory?",
                    hint="give fewer workers, or memory= for what each may hold; what is done is kept",
                ) from error
            raise


class GivenExecutor:
    """An executor that belongs to the user: what has not begun is called off, what runs there runs to its end."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @contextmanager
    def on(self, spec: RunSpec) -> Iterator[Submit]:
        """Bring a run to it: to threads as it is, to processes as bytes."""
        if isinstance(self._executor, ThreadPoolExecutor):
            run = SharedRun(spec)
            yield lambda task, item: self._submit(run.perform, task, item)
            return
        local = isinstance(self._executor, ProcessPoolExecutor)
        parcel = Parcel.of(spec, None if local else _beside(spec), threads=int(local))
        try:
            yield lambda task, item: self._submit(perform, parcel, pickled((task, item)))
        finally:
            parcel.remove()

    def result(self, future: Future[Any]) -> Any:
        """Return the result of a task.

        Raises:
            AadslError: the executor broke, was shut down, or has workers without aadsl.
        """
        try:
            value = future.result()
        except (BrokenExecutor, CancelledError) as error:
            raise self._broke(error) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] == "distributed":
                raise self._broke(error) from error
            if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "aadsl":
                raise AadslError("the workers do not have aadsl", hint="install the same version everywhere") from error
            raise
        return value if isinstance(self._executor, ThreadPoolExecutor) else received(value)

    def close(self) -> None:
        """Leave it to whom it belongs."""

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self._executor.submit(function, *arguments)
        except RuntimeError as error:  # broken, or shut down
            raise self._broke(error) from error

    def _broke(self, error: BaseException) -> AadslError:
        name = type(self._executor).__name__
        return AadslError(
            f"the {name} that was given stopped working ({type(error).__name__}: {error})".replace(": )", ")"),
            hint="did its workers run out of memory, or was it shut down? Give a new one; what is done is kept",
        )


def _beside(spec: RunSpec) -> Path | None:
    """Return the folder that the run lies in, which workers on other machines see; None where none can write there."""
    folder = Path(spec.trajectory.path).absolute().parent if isinstance(spec.trajectory.path, Path) else None
    return folder if folder is not None and os.access(folder, os.W_OK) else None
