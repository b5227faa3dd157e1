"""Where a trajectory's files are: a folder, or the groups of a single file. Every byte is checked before it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from aadsl.errors import AadslError
from aadsl.trajectory import header
from aadsl.trajectory.files import check_seal, netcdf_opened


class Source(Protocol):
    """A set of named netCDF files."""

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files that are there now."""

    def open(self, name: str) -> AbstractContextManager[Any]:
        """Open one for reading raw values. Raises AadslError where damaged, FileNotFoundError where gone."""

    def digest(self, name: str) -> str:
        """Return the digest of one file's bytes."""


class Folder:
    """The files of a folder; each one's digest is checked when it is first opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked: dict[str, str] = {}

    def names(self) -> list[str]:
        """Return the names of all netCDF files."""
        return [entry.name for entry in self.path.iterdir() if entry.suffix == ".nc"]

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Check and open one."""
        self.digest(name)
        with netcdf_opened(self.path / name) as dataset:
            yield dataset

    def digest(self, name: str) -> str:
        """Return the checked digest of one."""
        if name not in self._checked:
            self._checked[name] = check_seal(self.path / name)
        return self._checked[name]


def source_of(path: Path) -> Source:
    """Return the source at ``path``. Raises AadslError where no trajectory is there."""
    if not path.exists():
        raise AadslError(f"{path} does not exist", hint="record a run with aadsl.Recorder(path, model, optimizer)")
    if path.is_dir() and (path / header.NAME).exists():
        return Folder(path)
    raise AadslError(
        f"{path} holds no trajectory",
        hint=f"a trajectory is a folder with {header.NAME} in it, made by aadsl.Recorder",
    )
