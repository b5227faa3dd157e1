"""How much memory there is."""

from __future__ import annotations

import os
from contextlib import suppress
from math import inf
from pathlib import Path

_SYSTEM, _GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_memory() -> float:
    """Return how many bytes this process can have, as system and container say; infinite where neither does."""
    return min(_of_system(), _of_group())


def whole_memory() -> float:
    """Return how many bytes of memory the machine has; infinite where it does not say."""
    with suppress(ValueError, OSError, AttributeError):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return inf


def _of_system() -> float:
    try:
        lines = _SYSTEM.read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return inf


def _of_group() -> float:
    try:
        limit, used = ((_GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return inf if limit == "max" else max(0.0, float(limit) - float(used))
    except (OSError, ValueError):
        return inf
