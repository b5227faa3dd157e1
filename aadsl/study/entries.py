"""Named sets of arrays beside a trajectory, in sealed netCDF files that appear by renaming.

An entry is a group of such a file: a killed write leaves nothing, a damaged file is passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.trajectory.store.files import commit, opened, tidy

Entry: TypeAlias = dict[str, NDArray[np.float64]]


class EntryStore:
    """Entries by their key, in the files of one folder, and in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        self._read: set[str] = set()
        tidy(folder)

    def find(self, key: str) -> Entry | None:
        """Return an entry, None where there is none."""
        if key not in self._entries:
            self._look_for_new_files()
        return self._entries.get(key)

    def keep(self, entries: Mapping[str, Entry]) -> None:
        """Add entries, in one file. A folder that cannot be written is no reason to lose an answer."""
        self._entries |= entries
        name = f"{hashlib.sha256(' '.join(sorted(entries)).encode()).hexdigest()[:32]}.nc"
        try:
            self.folder.mkdir(exist_ok=True)
            commit(self.folder / name, {"title": "effects, by the digest of what they depend on"}, _writer(entries))
            self._read.add(name)
        except OSError:
            pass

    def _look_for_new_files(self) -> None:
        try:
            names = os.listdir(self.folder)  # noqa: PTH208  (asked for with every new question, however many there are)
        except OSError:  # not made yet
            return
        new = sorted(set(names) - self._read)
        self._read |= set(new)
        for name in new:
            if re.fullmatch(r"[0-9a-f].*\.nc", name):
                try:
                    with opened(self.folder / name) as dataset:
                        self._entries |= {
                            key: {name: _numbers(variable) for name, variable in group.variables.items()}
                            for key, group in dataset.groups.items()
                        }
                except (AadslError, OSError):  # damaged, or gone since: it will be computed again
                    continue


def _numbers(variable: Any) -> NDArray[np.float64]:
    """Read a variable. Raises ValueError where it is of another kind than those that are kept."""
    if variable.dtype != np.float64:
        raise ValueError(f"{variable.name} is {variable.dtype}")
    return np.asarray(variable[...])


def _writer(entries: Mapping[str, Entry]) -> Callable[[Any], None]:
    def write(dataset: Any) -> None:
        for key, entry in entries.items():
            group = dataset.createGroup(key)
            for name, values in entry.items():
                dimensions = [f"{name}_{axis}" for axis in range(values.ndim)]
                for dimension, size in zip(dimensions, values.shape, strict=True):
                    group.createDimension(dimension, size)
                group.createVariable(name, np.float64, dimensions)[...] = values

    return write
