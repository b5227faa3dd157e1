"""Processes for tests that kill some, or spread work over several; they see the environment of the first test."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest

IMPORTED = ["distributed", "pytest", "aadsl.study", "aadsl.replayed.workers", "tests.digits"]


def context() -> ForkServerContext:
    """Return what starts processes by forking one that did nothing but import PyTorch and the package, for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    forkserver.ensure_running()  # before Dask says that it would import other things
    return context


@contextmanager
def cluster() -> Iterator[Any]:
    """Yield an executor on a Dask cluster of two such processes; a task that kills two of them is given up."""
    distributed = pytest.importorskip("distributed")
    import dask

    context()
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.worker.multiprocessing-method": "forkserver",
    }
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(**options) as machines,
        distributed.Client(machines) as client,
    ):
        yield client.get_executor()
