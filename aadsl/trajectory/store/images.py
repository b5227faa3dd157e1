"""Files that differ only in their numbers: the bytes around the numbers of one, with the numbers of another.

The netCDF library makes a small file with a hundred calls, for each of which it takes Python's lock from the training:
5 ms for a state of 0.8 MB, measured as what the training of a small network loses. A large file it writes into the page
cache, to be read again for its digest. Into an image, numbers go from where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.trajectory.store.files import netcdf_opened, write_netcdf

Values = Mapping[str, NDArray[Any]]

# So many random numbers at either end of a variable show where it lies.
_MARK = 16
# The library's own bytes between two variables are fewer.
_WINDOW = 1 << 20


class Image:
    """All of a netCDF file but its numbers.

    A file is made with random numbers at both ends of each variable, which show where it lies: variables that are
    neither chunked nor compressed lie in one piece, outside of what the file's own checksums cover.

    Args:
        scratch: a file to make and to delete again; it has holes where most of the numbers would be.
        attributes: those of the file.
        create: creates the variables in an open dataset.
        like: values of the dtypes and lengths that all others have, by variable.

    Raises:
        LookupError: the file does not keep its numbers so that they can be replaced.
        OSError: the disk refuses.
    """

    def __init__(
        self, scratch: Path, attributes: Mapping[str, Any], create: Callable[[Any], None], like: Values
    ) -> None:
        random = np.random.default_rng(0)
        marks, others = (
            {name: _mark(random, values) for name, values in like.items() if values.size} for _ in range(2)
        )

        def write(dataset: Any) -> None:
            create(dataset)
            for name, mark in marks.items():
                _write_ends(dataset.variables[name], mark)

        try:
            write_netcdf(scratch, attributes, write)
            with scratch.open("rb") as file:
                self._before, self._rest = _cut(file, marks, like)
            self._prove(scratch, others, like)
        except RuntimeError as error:  # how netCDF reports a failed write, without the reason
            raise LookupError(f"the file cannot be made: {error}") from error
        finally:
            scratch.unlink(missing_ok=True)

    def parts(self, values: Values) -> Iterator[memoryview]:
        """Yield the file of ``values``, one part after the other."""
        for name, before in self._before.items():
            yield memoryview(before)
            yield _raw(values[name])
        yield memoryview(self._rest)

    def _prove(self, scratch: Path, marks: Values, like: Values) -> None:
        """Raise LookupError unless the library reads other numbers where the first were."""
        with scratch.open("wb") as file:
            for name, before in self._before.items():
                head, tail = marks[name][:_MARK], marks[name][_MARK:]
                file.write(before)
                end = file.tell() + like[name].nbytes
                file.write(_raw(head))
                file.seek(end - tail.nbytes)
                file.write(_raw(tail))
            file.write(self._rest)
        try:
            with netcdf_opened(scratch) as dataset:
                same = all(_ends(dataset.variables[name]).tobytes() == mark.tobytes() for name, mark in marks.items())
        except AadslError as error:
            raise LookupError(f"a file with other numbers is not read: {error}") from error
        if not same:
            raise LookupError("other numbers are not read back")


def _mark(random: np.random.Generator, values: NDArray[Any]) -> NDArray[Any]:
    """Return random numbers for the first places of a variable, and the last."""
    size = min(values.size, 2 * _MARK)
    return np.frombuffer(random.bytes(size * values.itemsize), values.dtype)


def _write_ends(variable: Any, mark: NDArray[Any]) -> None:
    if not variable.ndim:
        variable[...] = mark[0]
        return
    variable[: min(_MARK, len(mark))] = mark[:_MARK]
    if len(mark) > _MARK:
        variable[len(variable) - len(mark) + _MARK :] = mark[_MARK:]


def _ends(variable: Any) -> NDArray[Any]:
    if len(variable.shape) == 0 or variable.shape[0] <= 2 * _MARK:
        return np.asarray(variable[...])
    return np.concatenate([variable[:_MARK], variable[-_MARK:]])


def _cut(file: BinaryIO, marks: Values, like: Values) -> tuple[dict[str, bytes], bytes]:
    """Return what stands before each variable's numbers, in the order of the file, and what stands after the last."""
    before: dict[str, bytes] = {}
    position = 0
    while len(before) < len(marks):
        window = _read(file, position, _WINDOW)
        places = {name: window.find(_raw(mark[:_MARK])) for name, mark in marks.items() if name not in before}
        name = min((name for name in places if places[name] >= 0), key=lambda name: places[name], default=None)
        if name is None:
            raise LookupError("numbers do not stand as they are in the file")
        before[name] = window[: places[name]]
        position += places[name] + like[name].nbytes
        tail = _raw(marks[name][_MARK:])
        if _read(file, position - len(tail), len(tail)) != tail:
            raise LookupError(f"{name} does not lie in one piece")
    rest = _read(file, position, _WINDOW)
    if len(rest) == _WINDOW:
        raise LookupError("too much follows the numbers")
    return before, rest


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _raw(values: NDArray[Any]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data
