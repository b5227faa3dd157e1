"""What all tests share, so that they say the same on any machine, slow or with many cores, and side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator

# For the processes that tests start. In this one it comes too late where torch was imported before.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

# Several threads add up in an order of their own, so that bits would depend on the number of cores; and tiny matrices
# wait longer for a second thread than it saves.
torch.set_num_threads(1)

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def own_ipython(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shells and kernels keep their history apart from the user's, and from that of tests which run beside these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_commits_by_the_clock() -> Iterator[None]:
    """Which files a recording has depends on what it is told, not on how many seconds a machine takes for a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aadsl.trajectory.record.journal.FLUSH_SECONDS", float("inf"))
        patch.setattr("aadsl.trajectory.record.pace.Pace._unaffordable", lambda pace: "")
        yield
