"""Where a trajectory's files are: a folder, a single file, a URL. Every byte is checked before it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from aadsl.core.errors import AadslError
from aadsl.core.files import expanded
from aadsl.trajectory.read.fetched import Fetched
from aadsl.trajectory.store import header
from aadsl.trajectory.store.files import gone, netcdf_opened, require_seal

RUN_GROUP, FOLDER = "run-", "folder"


class RunSource(Protocol):
    """The named files of one run.

    Attributes:
        path: where they are.
        folder: the path of the folder that they were recorded into, as far as it is known.
    """

    path: Path | str
    folder: str

    def names(self) -> list[str]:
        """Return the names of all files that are there now."""

    def open(self, name: str) -> AbstractContextManager[Any]:
        """Open one for reading raw values. Raises AadslError where it is damaged or gone."""

    def digest(self, name: str) -> str:
        """Return the checked digest of one file's bytes."""

    def changed(self) -> set[str]:
        """Return what has other bytes now than when it was read; of files that look as they did nothing is read.

        Raises:
            AadslError: nothing is there any more.
        """


class Folder:
    """The files of a folder; each one's digest is checked when it is first opened."""

    def __init__(self, path: Path) -> None:
        self.path: Path | str = path
        self.folder = path.absolute().as_posix()
        self._folder = path
        self._checked: dict[str, str] = {}
        self._looks, self._changed = looks_of(path), set[str]()

    def names(self) -> list[str]:
        """Return the names of all netCDF files."""
        try:
            return [name for name in os.listdir(self._folder) if name.endswith(".nc")]  # noqa: PTH208  (of a long run)
        except OSError as error:
            raise _moved(self._folder, error) from error

    def changed(self) -> set[str]:
        """Return the files whose bytes were read, and are other ones now, of those that neither came nor went."""
        before, self._looks = self._looks, looks_of(self._folder)
        touched = {name for name, look in self._looks.items() if before.get(name, look) != look}
        self._changed |= {name for name in touched if _differs(self._folder / name, self._checked.pop(name, None))}
        return self._changed

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Check and open one."""
        self.digest(name)
        with netcdf_opened(self._folder / name) as dataset:
            yield dataset

    def digest(self, name: str) -> str:
        """Return the checked digest of one."""
        if name not in self._checked:
            try:
                self._checked[name] = require_seal(self._folder / name)
            except FileNotFoundError:
                raise gone(self._folder / name) from None
            except OSError as error:
                raise _unreadable(self._folder / name, error) from error
        return self._checked[name]


class SingleFile:
    """The groups below ``run-<number>`` of a file that ``to_netcdf`` wrote, and that came from ``origin``."""

    def __init__(self, path: Path, group: str, origin: Path | Fetched) -> None:
        self.path: Path | str = path if isinstance(origin, Path) else origin.url
        self._file, self._group, self._origin = path, group, origin
        self._names: list[str] | None = None
        self._changed: set[str] = set()
        with self._opened() as run:
            self.folder = f"{path.absolute().with_suffix('').as_posix()}/{getattr(run, FOLDER, group)}"

    @cached_property
    def _digest(self) -> str:
        self._look = looks_of(self._file)
        return require_seal(self._file)

    def changed(self) -> set[str]:
        """Return the name of the file where it has other bytes now."""
        before, self._look = self._look, looks_of(self._file)
        if self._look != before and _differs(self._file, self.__dict__.pop("_digest", None)):
            self._changed = {self._file.name}
        return self._changed

    def names(self) -> list[str]:
        """Return the groups' names as those of files."""
        if self._names is None:
            with self._opened() as run:
                self._names = [f"{name}.nc" for name in run.groups]
        return self._names

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Open one group."""
        if name not in self.names():
            where = f"{self._group}/{name.removesuffix('.nc')}"
            raise AadslError(f"{self._file} has no group {where}", hint="restore the file, or record the run again")
        with self._opened(name.removesuffix(".nc")) as group:
            yield group

    def _opened(self, *groups: str) -> AbstractContextManager[Any]:
        assert self._digest
        return netcdf_opened(self._file, self._group, *groups)

    def digest(self, name: str) -> str:
        """Return the digest of the whole file."""
        return self._digest


class Remote:
    """A folder behind a URL; files are fetched when they are first needed."""

    def __init__(self, fetched: Fetched) -> None:
        self.path: Path | str = fetched.url
        self.folder = fetched.url.rstrip("/")
        self._fetched = fetched
        self._local = Folder(fetched.folder)

    def names(self) -> list[str]:
        """Return the names of all netCDF files there."""
        return [name for name in self._fetched.names() if name.endswith(".nc")]

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Fetch, check and open one."""
        self.digest(name)
        with self._local.open(name) as dataset:
            yield dataset

    def digest(self, name: str) -> str:
        """Fetch one, and return its checked digest."""
        return self._local.digest(self._fetched.file(name).name)

    def changed(self) -> set[str]:
        """Return nothing: what was fetched is a copy."""
        return set()


Look = tuple[int, int, int]


def looks_of(place: Path) -> dict[str, Look]:
    """Return size, time of change and number of a file, or of each netCDF file of a folder, as they are now.

    Raises:
        AadslError: there is no such place any more.
    """
    try:
        files = [e for e in os.scandir(place) if e.name.endswith(".nc")] if place.is_dir() else [place]
        found = {}
        for file in files:
            with suppress(FileNotFoundError) if file is not place else nullcontext():
                seen = file.stat()
                found[file.name] = (seen.st_size, seen.st_mtime_ns, seen.st_ino)
    except OSError as error:
        raise _moved(place, error) from error
    return found


def _moved(place: Path, error: OSError) -> AadslError:
    if isinstance(error, FileNotFoundError):
        return gone(place)
    return _unreadable(place, error)


def _unreadable(place: Path, error: OSError) -> AadslError:
    hint = "make it readable, or restore it"
    return AadslError(f"{place} cannot be read: {error.strerror or error}", hint=hint)


def _differs(path: Path, digest: str | None) -> bool:
    """Return whether a file is whole and has another digest. What is damaged is found where it is read."""
    try:
        return digest is not None and require_seal(path) != digest
    except (AadslError, OSError):
        return False


def sources_of(place: Path | str) -> list[RunSource]:
    """Return the runs at a path or URL: one in a folder, one or several in a file. Raises AadslError where none is."""
    url = str(place)
    if re.match(r"[a-z][a-z0-9+.-]+:(//|:)", url, re.IGNORECASE):  # "::" joins two, as in simplecache::s3://…
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise AadslError(f"{url} is no address: {error}", hint="check the address") from error
        if parts.scheme != "file":
            return _behind(url)
        place = url2pathname(unquote(parts.path)) or os.sep
    path = expanded(place)
    if path.is_dir() and (path / header.NAME).exists():
        return [Folder(path)]
    if path.is_file() and path.suffix == ".nc":
        return _runs_in(path, path)
    if path.is_dir() and (gaps := gaps_in(path)):
        return [Folder(gap) for gap in gaps]
    if not path.exists():
        raise AadslError(f"{path} does not exist", hint="record a run with aadsl.Recorder(path, model, optimizer)")
    raise AadslError(
        f"{path} holds no trajectory",
        hint=f"a trajectory is a folder with {header.NAME} in it, made by aadsl.Recorder",
    )


def gaps_in(path: Path) -> list[Path]:
    """Return the recordings in a folder that are called after their steps: "0-20", "20-30", and at the end "30-30".

    Raises:
        AadslError: one of them is missing.
    """
    named = (re.fullmatch(r"(\d+)-(\d+)", part.name) for part in path.iterdir() if (part / header.NAME).exists())
    bounds = sorted((int(found[1]), int(found[2])) for found in named if found)
    gaps = [(stop, start) for (_, stop), (start, _) in pairwise(bounds) if stop != start]
    if gaps or (bounds and bounds[-1][0] != bounds[-1][1]):
        which = f"the steps from {gaps[0][0]} to {gaps[0][1]} are missing" if gaps else "its end is missing"
        hint = "call aadsl.reconstruct(…) again: what it has done it does not do again"
        raise AadslError(f"{path} is not whole: {which}", hint=hint)
    return [path / f"{start}-{stop}" for start, stop in bounds]


def _runs_in(path: Path, origin: Path | Fetched) -> list[RunSource]:
    require_seal(path)
    with netcdf_opened(path) as dataset:
        groups = [name for name in dataset.groups if name.startswith(RUN_GROUP)]
    if not groups:
        raise AadslError(
            f"{path} is one file of a trajectory, not a whole one",
            hint="open the folder it is in, or a file that trajectory.to_netcdf(path) wrote",
        )
    ordered = sorted(groups, key=lambda name: int(name.removeprefix(RUN_GROUP)))
    return [SingleFile(path, group, origin) for group in ordered]


def _behind(url: str) -> list[RunSource]:
    fetched = Fetched(url)
    if fetched.is_file():
        return _runs_in(fetched.file(), fetched)
    source = Remote(fetched)
    if header.NAME not in source.names():
        raise AadslError(f"{url} holds no trajectory", hint=f"a trajectory is a folder with {header.NAME} in it")
    return [source]
