"""Files that users name: whole or not there, and never in the place of a recording."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from aadsl.core.errors import AadslError

RUN_FILE, EFFECTS = "run.nc", ".effects"
"""The file that makes a folder a recording, and how the folder of what is kept beside it ends."""
SEAL = re.compile(rb"\naadsl sha256 ([0-9a-f]{64})\n")
SEAL_LENGTH = 79
"""What every file of a recording ends with: the digest of all bytes before."""
_LONGEST = 255  # bytes of a name, in all file systems in use


def effects_of(recording: str | os.PathLike[str]) -> Path:
    """Return the folder in which what was computed of a recording is kept beside it.

    Where its name would be longer than file systems allow, a digest stands for the end of it.
    """
    beside = Path(f"{os.fspath(recording)}{EFFECTS}")
    if len(os.fsencode(beside.name)) <= _LONGEST:
        return beside
    digest = hashlib.sha256(os.fsencode(beside.name)).hexdigest()[:16]
    begin = os.fsencode(beside.name)[: _LONGEST - len(digest) - len(EFFECTS) - 1].decode(errors="ignore")
    return beside.with_name(f"{begin}-{digest}{EFFECTS}")


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path, with ``~`` as the home directory that it stands for, whether anything is there or not.

    Raises:
        AadslError: nothing can be called so: it is empty, too long, has a NUL, or ~ of a user who is not there.
    """
    if not os.fspath(path):
        raise AadslError("an empty path names nothing", hint="name a file or a folder")
    try:
        found = Path(path).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            found.stat()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AadslError(f"nothing can be called {str(path)[:200]!r}: {reason}", hint="give it another name") from error
    return found


def place_for(path: str | os.PathLike[str], *, whole_run: bool = False) -> Path:
    """Return where a file is to be written, links followed.

    Args:
        path: its name.
        whole_run: a whole recording in one file is written, which may take the place of another such file.

    Raises:
        AadslError: there can be no such file, its folder is not there, or it would take the place of a recording.
    """
    named = expanded(path)
    try:
        place = named.resolve()
        mode = place.stat().st_mode if place.exists() else None
        folder = place.parent.is_dir()
    except (OSError, RuntimeError) as error:  # its folder may not be looked into
        reason = getattr(error, "strerror", None) or str(error)
        raise AadslError(f"{path} cannot be written: {reason}", hint="save it somewhere else") from error
    if not folder:
        raise AadslError(f'there is no folder "{named.parent}"', hint="make it first")
    if mode is not None and stat.S_ISDIR(mode):
        raise AadslError(f"{path} is a folder", hint=f'name a file in it: "{Path(path) / "scores.nc"}"')
    if mode is not None and not stat.S_ISREG(mode):
        raise AadslError(f"{path} is no regular file, but a device or a pipe", hint="name a file")
    if _is_beside_recorded(place) or (mode is not None and not whole_run and _is_sealed(place)):
        hint = "write it somewhere else: nothing takes the place of recorded files"
        raise AadslError(f"{path} belongs to a recording", hint=hint)
    return place


def _is_beside_recorded(place: Path) -> bool:
    """Return whether a file is in the folder of a recording, or of what is kept beside one."""
    folder = place.parent
    # A whole run in one file may be called run.nc, too: beside the one in a recording's folder there are states.
    if (folder / RUN_FILE).exists() and any(folder.glob("state-*.nc")):
        return True
    return any(f.name.endswith(EFFECTS) and f.with_name(f.name.removesuffix(EFFECTS)).exists() for f in place.parents)


def _is_sealed(place: Path) -> bool:
    """Return whether a file, by whichever name, is one of a recording, or a whole one."""
    try:
        with place.open("rb") as file:
            file.seek(-SEAL_LENGTH, os.SEEK_END)
            return SEAL.fullmatch(file.read()) is not None
    except OSError:  # it is shorter, or may not be read
        return False


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give another name in the same folder to write to, and make that ``path`` at the end.

    Whoever has the old file open goes on reading that; where writing fails, the old file is what it was.

    Raises:
        AadslError: the file cannot be written there; see :func:`place_for`.
    """
    target = place_for(path)  # a link stays one
    # Short, as names may be as long as the system allows; libraries look at the extension.
    unfinished = target.with_name(f".{uuid4().hex}.tmp{target.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb+") as written:
            os.fsync(written.fileno())  # some disks say only then that they are full
        unfinished.replace(target)
    except OSError as error:
        hint = "make room, save it somewhere else, or close what has it open"
        raise AadslError(f"{path} cannot be written: {error.strerror or error}", hint=hint) from error
    finally:
        unfinished.unlink(missing_ok=True)
