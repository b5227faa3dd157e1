"""Work on one run, spread over other processes or machines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import closing, suppress
from typing import Any

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress
from aadsl.replayed.executors import GivenExecutor, LocalPool, Workplace
from aadsl.replayed.parcels import WorkerTask
from aadsl.replayed.run_spec import RunSpec

WAKE = 0.1  # seconds between two calls of ``progress`` while waiting, which may raise to give up


class Workers:
    """Work on one run spread over an executor.

    Args:
        spec: how to open the run.
        executor: any ``concurrent.futures.Executor``: of processes, of threads, of another library
            (``dask.distributed.Client(…).get_executor()``). Threads of one process take turns, because they share
            PyTorch's random generators and kernels.
        count: the number of workers of the executor, 0 where that is not known; without one, of local processes to
            start, each with one of PyTorch's threads. They start with the first question, and end when they had nothing
            to do for some minutes.

    Attributes:
        count: it.

    Raises:
        AadslError: neither of the two was given, or ``executor`` is none.
    """

    def __init__(self, spec: RunSpec, executor: Executor | None = None, count: int = 0) -> None:
        if executor is not None and not isinstance(executor, Executor):
            client = hasattr(executor, "get_executor")
            raise AadslError(
                f"executor= takes a concurrent.futures.Executor, not {type(executor).__name__}",
                hint="give client.get_executor()" if client else "such as concurrent.futures.ProcessPoolExecutor()",
            )
        if count < (executor is None):
            raise AadslError(f"{count} workers cannot work", hint="give executor=, or the number of local processes")
        self.spec, self.count = spec, count
        self._place: Workplace = LocalPool(count) if executor is None else GivenExecutor(executor)

    def map(
        self, function: WorkerTask, items: Sequence[Any], progress: Progress, what: str = "workers"
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position, ``function(history, item)``) of each item as it is done, in any order.

        Args:
            function: a top-level function of a module that workers can import.
            items: what to do, small enough to be sent.
            progress: called as ``progress(what, done, total)``, also while waiting; what it raises cancels the rest.
            what: what ``progress`` is told.

        Raises:
            AadslError: the run cannot be sent to the workers or opened there, or too many of them died. What was
                yielded before stays valid.
        """
        todo, done = dict(enumerate(items)), 0

        def tick() -> None:
            progress(what, done, len(items))

        with self._place.on(self.spec) as submit:
            while todo:
                finished = _finished(lambda item: submit(function, item), dict(todo), tick)
                with suppress(BrokenExecutor), closing(finished):
                    for position, future in finished:
                        result = self._place.result(future)
                        del todo[position]
                        done += 1
                        tick()
                        yield position, result

    def close(self) -> None:
        """End the processes that were started here; an executor that was given stays as it is."""
        self._place.close()


def _finished(
    submit: Callable[[Any], Future[Any]], todo: dict[int, Any], tick: Callable[[], None]
) -> Generator[tuple[int, Future[Any]], None, None]:
    """Submit all items and yield their futures as they are done; whatever ends this leaves none in the queue."""
    futures: dict[Future[Any], int] = {}
    try:
        for position, item in todo.items():
            futures[submit(item)] = position
        pending = set(futures)
        while pending:
            tick()
            finished, pending = wait(pending, timeout=WAKE, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=_failed):  # what is done counts, whatever became of the others
                yield futures.pop(future), future
    finally:
        for future in futures:
            future.cancel()


def _failed(future: Future[Any]) -> bool:
    return future.cancelled() or future.exception() is not None


def workers_of(
    executor: Executor | None, count: int, generators: Sequence[Any], spec: Callable[[], RunSpec]
) -> Workers | None:
    """Return who works on a run, if anyone does.

    Raises:
        AadslError: the loss draws from generators that are objects of this process.
    """
    if executor is None and not count:
        return None
    if generators:
        hint = "leave executor= and workers= out"
        raise AadslError("generators= are objects of this process, where the loss finds them", hint=hint)
    return Workers(spec(), executor, count)
