"""Files that differ only in their numbers: the bytes of one, with other numbers in their places.

The netCDF library makes a small file with a hundred calls, for each of which it takes Python's lock from the training:
5 ms for a state of 0.8 MB (measured as what the training of a small network loses), 1.5 ms with the bytes of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from aadsl.trajectory.files import netcdf_lock

Values = Mapping[str, NDArray[Any]]


class Image:
    """A netCDF file whose numbers can be replaced.

    One is built with numbers that stand nowhere else, which shows where they are kept: variables that are neither
    chunked nor compressed lie in one piece, outside of what the file's own checksums cover.

    Args:
        build: returns the bytes of the file of the values it is given, by variable.
        like: values of the dtypes and shapes that all others have.

    Raises:
        LookupError: the file does not keep its numbers so that they can be replaced.
    """

    def __init__(self, build: Callable[[Values], memoryview], like: Values) -> None:
        random = np.random.default_rng(0)
        marks = _random(random, like)
        content = bytes(build(marks))
        self._content = np.frombuffer(content, np.uint8).copy()
        self._places = {name: _only_place(content, mark.tobytes()) for name, mark in marks.items() if mark.size}
        self._prove(_random(random, like))

    def filled(self, values: Values) -> NDArray[np.uint8]:
        """Return the bytes of the file of ``values``, which are good until the next call."""
        for name, place in self._places.items():
            raw = values[name].reshape(-1).view(np.uint8)
            self._content[place : place + len(raw)] = raw
        return self._content

    def _prove(self, values: Values) -> None:
        try:
            with netcdf_lock(), closing(netCDF4.Dataset("image", memory=self.filled(values).tobytes())) as dataset:
                dataset.set_auto_maskandscale(False)
                read = {name: np.asarray(dataset.variables[name][...]) for name in values}
        except (OSError, RuntimeError) as error:
            raise LookupError(f"a file with other numbers is not read: {error}") from error
        if any(read[name].tobytes() != values[name].tobytes() for name in values):
            raise LookupError("other numbers are not read back")


def _random(random: np.random.Generator, like: Values) -> Values:
    return {
        name: np.frombuffer(random.bytes(values.nbytes), values.dtype).reshape(values.shape)
        for name, values in like.items()
    }


def _only_place(content: bytes, mark: bytes) -> int:
    place = content.find(mark)
    if place < 0 or content.find(mark, place + 1) >= 0:
        raise LookupError("numbers are not found in one place")
    return place
