"""One file of a trajectory: written under another name, sealed, flushed, renamed; read back only if intact.

A sealed file is a netCDF-4 file with 79 bytes after its end (HDF5 ignores them, so every netCDF reader opens it):
``\naadsl sha256 <64 hexadecimal digits>\n``, the digest of all bytes before. Reading checks it *before* the netCDF
library sees the file, because HDF5 can crash the process on damaged input.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import netCDF4
from xarray.backends.locks import HDF5_LOCK, NETCDFC_LOCK

from aadsl.core.errors import AadslError
from aadsl.core.files import SEAL, SEAL_LENGTH
from aadsl.trajectory.store.claims import require_room
from aadsl.trajectory.store.direct import write_direct

SCHEMA_VERSION = 2
_BLOCK = 1 << 20
_LARGE = 16 << 20
ABANDONED = 3600.0  # seconds after which nobody is writing a file any more
_ROOM = 1 << 14
_inside = threading.local()


@contextmanager
def netcdf_lock() -> Iterator[None]:
    """Hold the locks that xarray holds: the netCDF library is not thread-safe, and we write from a thread.

    A thread that holds them may enter again, to read one file while it writes another.
    """
    if getattr(_inside, "lock", False):
        yield
        return
    with NETCDFC_LOCK, HDF5_LOCK:
        _inside.lock = True
        try:
            yield
        finally:
            _inside.lock = False


def commit(path: Path, attributes: Mapping[str, Any], write: Callable[[Any], None], nbytes: int = 0) -> str:
    """Write a netCDF file with ``write(dataset)`` so that ``path`` has all of it or does not change.

    ``nbytes`` is about how much will be written. Returns the digest of the file. Raises OSError where the disk refuses.
    """
    with _replacing(path) as temporary:
        # Building a small file in memory takes half the time; a large one would be in memory twice.
        memory = nbytes + _ROOM if nbytes < _LARGE else None
        content = write_netcdf(temporary, attributes, write, memory)
        digest = _seal(temporary, content if memory else None)
    sync_folder(path.parent)
    return digest


def commit_parts(path: Path, parts: Iterable[memoryview]) -> str:
    """Write the bytes of a netCDF file so that ``path`` has all of them or does not change; return their digest.

    A power failure may take the whole file until :func:`commit` writes another to the folder.
    """
    sha = hashlib.sha256()

    def sealed() -> Iterator[memoryview]:
        for part in parts:
            sha.update(part)
            yield part
        yield memoryview(_seal_of(sha.hexdigest()))

    with _replacing(path) as temporary:
        write_direct(temporary, sealed())
    return sha.hexdigest()


def write_netcdf(
    path: Path, attributes: Mapping[str, Any], write: Callable[[Any], None], memory: int | None = None
) -> memoryview:
    """Write a netCDF file with ``write(dataset)``, not sealed; with ``memory`` for it, return its bytes instead."""
    with netcdf_lock():
        dataset = netCDF4.Dataset(path, "w", format="NETCDF4", memory=memory)
        dataset.set_fill_off()  # every value is written, so none needs writing twice
        try:
            dataset.setncatts({"Conventions": "CF-1.11", "aadsl_schema": SCHEMA_VERSION, **attributes})
            write(dataset)
        finally:
            content: memoryview = dataset.close()
    return content


def tidy(folder: Path) -> None:
    """Delete what processes left half-written that were killed, long ago. A folder that cannot be written stays."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give another name to write to, and make that ``path`` at the end."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except RuntimeError as error:  # how netCDF reports a failed write
        raise OSError(f"{path}: {error}; is the disk full, or a quota or a limit of file sizes reached?") from error
    finally:
        temporary.unlink(missing_ok=True)


def _seal(path: Path, content: memoryview | None) -> str:
    """Put ``content``, or what the file has already, and its digest on the disk; return the digest."""
    if content is None:
        with path.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    else:
        digest = hashlib.sha256(content).hexdigest()
    with path.open("ab" if content is None else "wb") as file:
        file.write(content or b"")
        file.write(_seal_of(digest))
        file.flush()
        os.fsync(file.fileno())
    return digest


def _seal_of(digest: str) -> bytes:
    return b"\naadsl sha256 %s\n" % digest.encode()


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` outlast a power failure, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def require_seal(path: Path) -> str:
    """Return the digest of the sealed file ``path``; raise AadslError where its bytes are not the sealed ones."""
    with os.fdopen(_regular(path), "rb") as file:
        length = file.seek(0, os.SEEK_END) - SEAL_LENGTH
        if length < 0:
            raise AadslError(f"{path} is cut short", hint="restore the file, or record the run again")
        file.seek(length)
        seal = SEAL.fullmatch(file.read())
        if seal is None:
            raise AadslError(
                f"{path} does not end with its digest: it is cut short, or another program changed it",
                hint="restore the file, or record the run again",
            )
        file.seek(0)
        sha = hashlib.sha256()
        while length:
            block = file.read(min(length, _BLOCK))
            sha.update(block)
            length -= len(block)
    if sha.hexdigest() != seal[1].decode():
        raise AadslError(
            f"{path} was changed after it was written: its bytes do not match their digest",
            hint="restore the file, or record the run again",
        )
    return sha.hexdigest()


def _regular(path: Path) -> int:
    """Open a file, and nothing else that has a name: a pipe would be waited for, a device never ends."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise AadslError(f"{path} is no file, but a pipe or a device", hint="restore the file, or record the run again")


def gone(path: Path) -> AadslError:
    """Return the error of a file that was there when the trajectory was opened."""
    return AadslError(
        f"{path} is gone: it was moved, deleted, or merged with others by a recorder at work",
        hint="open the trajectory again, where it is now",
    )


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a sealed file for reading raw values; its seal is checked before the netCDF library sees it."""
    require_seal(path)
    with netcdf_opened(path) as dataset:
        yield dataset


@contextmanager
def netcdf_opened(path: Path, *groups: str) -> Iterator[Any]:
    """Open a file whose seal was checked before, or one of its groups.

    A seal says that bytes are unchanged, not that they make sense: the sizes that the file claims are compared with its
    own before anything is read. Raises AadslError where it does not hold what is read from it.
    """
    try:
        with netcdf_lock(), closing(netCDF4.Dataset(path, "r")) as dataset:
            dataset.set_auto_maskandscale(False)
            for name in groups:
                dataset = dataset.groups[name]
            require_room(dataset, path.stat().st_size)
            yield dataset
    except FileNotFoundError:
        raise gone(path) from None
    except (OSError, RuntimeError, AttributeError, LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise AadslError(
            f"{path} is whole, but not what the schema of trajectories says: {error}",
            hint="aadsl.trajectory.read.schema describes the files; was this one written by another program?",
        ) from error
