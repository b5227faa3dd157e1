"""What all tests share, so that they say the same on any machine, slow or with many cores, and side by side."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

# For the processes that tests start. In this one it comes too late where torch was imported before.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# For this process and for those that tests start: what they import for nothing is not there.
sys.path.insert(0, str(Path(__file__).parent / "without"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))

import pytest
import torch
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# A shell lets what it starts in the background ignore interrupts, and the tests of interrupting would wait for them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


class Shared(LoadFileScheduling):
    """Tests of a file go to one process, because they share what they record; so do all that share a browser."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "browser" if "test_browser" in file else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Shared:
    return Shared(config, log)


# What takes longest comes first, so that at the end no process waits for another.
LONGEST = (
    "test_browser", "test_notebooks", "test_killed", "test_demo", "test_workers", "test_soak", "test_around",
    "test_trainers", "test_heavy", "test_claims", "test_kernel", "test_full_disk", "test_cost_model", "test_spread",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((k for k, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))
