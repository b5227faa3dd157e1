"""The batches of a loader, announced as they come: by positions in the data where these say all, else as they are.

A loader knows the positions from its sampler. They are enough where the examples at these positions, collated as a
replay would, are what came; augmented at random they are not, and then the batches themselves are stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from aadsl.core.errors import AadslError
from aadsl.core.generators import NUMPY, PYTHON, left_as_they_were
from aadsl.data.examples import Examples, nbytes
from aadsl.data.indexed import with_positions

_LOOKS = 3  # batches that are compared with the data


class LoaderWatch:
    """What is known of one loader, from one epoch to the next.

    Attributes:
        why: why its batches are stored; nothing while their positions say what they are.
    """

    def __init__(self, loader: Any) -> None:
        self._loader, self._looks = loader, 0
        self.why = _without_positions(loader)
        self._twin = loader if self.why else with_positions(loader)

    def batches(self) -> Iterator[tuple[Any, NDArray[np.int64] | None]]:
        """Yield each batch as the loader makes it, and the positions of its examples; None where it is to be stored."""
        if self._twin is self._loader:
            for batch in self._loader:
                self._tell(batch)
                yield batch, None
            return
        for found, batch in self._twin:
            positions = None if self.why else _positions(found)
            if not self.why and self._looks < _LOOKS:
                self._compare(positions, batch)
            yield batch, None if self.why else positions

    def _compare(self, positions: NDArray[np.int64] | None, batch: Any) -> None:
        if positions is None:
            self.why = "its sampler gives no positions"
        elif not _same(_looked_up(self._loader.dataset, positions), batch):
            self.why = "they are not the examples at their positions, collated (augmented at random, or padded?)"
        if self.why:
            self._tell(batch)
        self._looks += 1

    def _tell(self, batch: Any) -> None:
        if self._looks < _LOOKS:
            self._looks = _LOOKS
            size = f"{nbytes(batch):,} bytes each"
            warnings.warn(f"the batches of the loader are stored as they come, {size}: {self.why}", stacklevel=5)


Watches = WeakKeyDictionary[Any, LoaderWatch]


class AnnouncedBatches(Iterable[Any]):
    """The batches of a loader; each is announced when the loop takes it."""

    def __init__(self, watches: Watches, loader: Any, announce: Callable[..., None], told: Mapping[str, Any]) -> None:
        self._loader, self._announce, self._told = loader, announce, told
        # What else yields batches is often made anew for each epoch.
        known = watches.get(loader) if isinstance(loader, DataLoader) else None
        self._watch = known or LoaderWatch(loader)
        if isinstance(loader, DataLoader):
            watches[loader] = self._watch

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch, positions in self._watch.batches():
            if positions is None:
                self._announce(batch, **self._told)
            else:
                self._announce(indices=positions, **self._told)
            yield batch


def _without_positions(loader: Any) -> str:
    """Return why a loader cannot say where its examples are in the data; nothing where it can."""
    if not isinstance(loader, Iterable):
        raise AadslError(
            f"batches cannot be taken from {type(loader).__name__}", hint="give a DataLoader, or what yields batches"
        )
    if not isinstance(loader, DataLoader):
        return f"{type(loader).__name__} tells no positions of examples"
    return "its dataset is iterable and has no positions" if isinstance(loader.dataset, IterableDataset) else ""


def _positions(found: Any) -> NDArray[np.int64] | None:
    """Return positions as the sampler gave them; None where they are none."""
    try:
        positions = np.atleast_1d(np.asarray(found))
    except (ValueError, TypeError):
        return None
    return positions.astype(np.int64) if positions.ndim == 1 and positions.dtype.kind in "iu" else None


def _looked_up(dataset: Any, positions: NDArray[np.int64]) -> Any:
    """Return the examples at ``positions`` as a replay will look them up; None where it cannot."""
    with left_as_they_were(["cpu", PYTHON, NUMPY]):
        try:
            return Examples.of(dataset).take(positions)
        except Exception:  # whatever the user's dataset raises, its batches can be stored
            return None


def _same(one: Any, other: Any) -> bool:
    """Return whether two batches hold the same; lists and tuples are alike."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
