"""Writing past the page cache.

What is written once and not read soon takes there the place of the training's data, and time of the training: 90 MB
took 30 ms of processor time where the cache had room, 300 ms where a virtual machine had to ask its host for memory
first, and 5 ms past it (2 CPU cores, Linux 6.18, ext4).
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Iterable
from pathlib import Path

# Linux has it; elsewhere, and on file systems that refuse it, the page cache is what there is.
_DIRECT = getattr(os, "O_DIRECT", 0)
# What is written directly begins and ends at multiples of this, in memory (where a page begins) and in the file.
_ALIGNED = 4096
_BLOCK = 1 << 20
_this_thread = threading.local()


def write_direct(path: Path, parts: Iterable[memoryview]) -> None:
    """Make the file ``path`` of ``parts``, one after the other, and wait until it is on the disk.

    Raises OSError where the disk refuses.
    """
    handle = _opened(path)
    try:
        os.truncate(handle, _copy(handle, parts))
        os.fsync(handle)
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags | _DIRECT, 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags, 0o666)


def _copy(handle: int, parts: Iterable[memoryview]) -> int:
    """Write ``parts``, and what fills the last block; return their length."""
    # Memory that is new costs half a millisecond, so each thread keeps its own.
    block = _this_thread.block = getattr(_this_thread, "block", None) or mmap.mmap(-1, _BLOCK)
    filled = length = 0
    for part in parts:
        length += len(part)
        while len(part):
            size = min(len(part), _BLOCK - filled)
            block[filled : filled + size] = part[:size]
            filled, part = filled + size, part[size:]
            if filled == _BLOCK:
                _write(handle, memoryview(block))
                filled = 0
    _write(handle, memoryview(block)[: -(-filled // _ALIGNED) * _ALIGNED])
    return length


def _write(handle: int, content: memoryview) -> None:
    while len(content):
        try:
            content = content[os.write(handle, content) :]
        except OSError as error:
            if error.errno != errno.EINVAL or not _turned_off(handle):
                raise


def _turned_off(handle: int) -> bool:
    """Return whether a file was written directly until now, which its file system turns out not to do."""
    if not _DIRECT:
        return False
    import fcntl

    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    fcntl.fcntl(handle, fcntl.F_SETFL, flags & ~_DIRECT)
    return bool(flags & _DIRECT)
