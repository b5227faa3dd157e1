"""Files behind URLs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from aadsl.core.errors import AadslError


class Fetched:
    """What is behind a URL of any kind that fsspec knows, and local copies of it, which are deleted with this object.

    Raises:
        AadslError: fsspec or what it needs for the URL is not installed, or what is there cannot be read.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            fsspec = import_module("fsspec")
        except ImportError:
            raise AadslError(f"reading {url} needs fsspec", hint="pip install fsspec") from None
        self._file_system, self._root = self._ask(lambda: fsspec.core.url_to_fs(url))
        self._folder = tempfile.TemporaryDirectory(prefix="aadsl-")
        self.folder = Path(self._folder.name)

    def names(self) -> list[str]:
        """Return the names of the files in the folder."""
        listed = self._ask(lambda: self._file_system.ls(self._root, detail=False))
        return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in listed]

    def is_file(self) -> bool:
        """Return whether the URL is that of a file."""
        return bool(self._ask(lambda: self._file_system.isfile(self._root)))

    def file(self, name: str = "") -> Path:
        """Return a copy of a file in the folder; of the file itself that the URL is of, where no name is given."""
        there = f"{self._root.rstrip('/')}/{name}".rstrip("/")
        local = self.folder / there.rsplit("/", 1)[-1]
        if not local.exists():
            part = local.with_name(f".{local.name}")
            self._ask(lambda: self._file_system.get_file(there, str(part)))
            part.rename(local)
        return local

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:  # of whatever library talks to the place
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            hint = "check the address, its access rights and the network"
            raise AadslError(f"{self.url} cannot be read: {said}", hint=hint) from error
