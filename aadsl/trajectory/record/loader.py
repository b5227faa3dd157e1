"""The batches of a loader, announced as they come: by positions in the data where these say all, else as they are.

A loader knows the positions from its sampler. They are enough where the examples at these positions, collated as a
replay would, are what came; augmented at random they are not, and then the batches themselves are stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import length_hint
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, IterableDataset, Subset

from aadsl.core.errors import AadslError
from aadsl.core.generators import NUMPY, PYTHON, as_tensor, left_as_they_were
from aadsl.core.units import sized
from aadsl.data.alike import differing
from aadsl.data.examples import Examples, nbytes
from aadsl.data.indexed import DrawnPositions, with_positions
from aadsl.trajectory.store.compression import remaining
from aadsl.trajectory.store.tensors import to_array

_LOOKS = 3  # batches that are compared with the data


class LoaderWatch:
    """What is known of one loader, from one epoch to the next; it keeps no hold of the loader itself.

    Args:
        loader: what yields batches.
        data: what recorded positions point into; None for the loader's own dataset.
        seeds: whether the states of random generators are kept instead of batches, where these give the batches again.

    Attributes:
        why: why its batches are stored; nothing while their positions say what they are.
    """

    def __init__(self, loader: Any, data: Any, seeds: bool = False) -> None:
        self.why, self.seeds = _without_positions(loader), seeds
        self._looks, self._told, self._data = 0, False, data
        self._twin = None if self.why else with_positions(loader, drawing=seeds)

    def batches(self, loader: Any) -> Iterator[tuple[Any, Any]]:
        """Yield each batch as the loader makes it, and where it is in the data; None where it is to be stored.

        That is the positions of its examples, or what was :class:`DrawnPositions` for them besides.
        """
        pairs = ((None, batch) for batch in loader) if self._twin is None else self._twin
        for found, batch in pairs:
            states = found.states if isinstance(found, DrawnPositions) else {}
            found = found.positions if isinstance(found, DrawnPositions) else found
            positions = None if self.why else _positions(found, loader.dataset, self._data)
            if not self.why and self._looks < _LOOKS:
                self._compare(loader.dataset if self._data is None else self._data, positions, states, batch)
            if self.why and not self._told:
                self._tell(loader, batch)
            yield batch, None if self.why else DrawnPositions(positions, states) if states else positions

    def _compare(self, data: Any, positions: NDArray[np.int64] | None, states: Mapping[str, bytes], batch: Any) -> None:
        self._looks += 1
        if positions is None:
            self.why = "its sampler gives no positions"
        elif differing(_looked_up(data, positions, states), batch):
            self.why = "they are not the examples of the data at their positions (augmented at random, or padded?)"
            if self.seeds:
                self.why = f"{self.why}, and the states of PyTorch's, NumPy's and Python's generators do not give them"

    def _tell(self, loader: Any, batch: Any) -> None:
        self._told = True
        size, kept = nbytes(batch), int(sum(remaining(flat) * flat.nbytes for flat in _flat(batch)))
        less = f", {sized(kept)} on the disk" if kept < size else ""
        each = f", {sized(kept * count)} an epoch" if (count := length_hint(loader)) else ""
        also = '; store="seeds" may take less' if isinstance(loader, DataLoader) and not self.seeds else ""
        said = f"the batches of the loader are stored as they come, {size:,} bytes each{less}{each}: {self.why}{also}"
        warnings.warn(said, stacklevel=5)


Watches = WeakKeyDictionary[Any, LoaderWatch]
Store = Literal["batches", "seeds"]


class AnnouncedBatches(Iterable[Any]):
    """The batches of a loader; each is announced when the loop takes it."""

    def __init__(self, loader: Any, watch: LoaderWatch, announce: Callable[..., None], told: Mapping[str, Any]) -> None:
        self._loader, self._watch, self._announce, self._told = loader, watch, announce, told

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch, positions in self._watch.batches(self._loader):
            if positions is None:
                self._announce(batch, **self._told)
            else:
                self._announce(indices=positions, **self._told)
            yield batch


def watched(loader: Any, data: Any, known: Watches, seeds: bool) -> LoaderWatch:
    """Return what watches a loader, for all epochs the same one; what else yields batches is often made anew."""
    if not isinstance(loader, DataLoader):
        return LoaderWatch(loader, data)
    if loader not in known or known[loader].seeds is not seeds:
        known[loader] = LoaderWatch(loader, data, seeds)
    return known[loader]


def _flat(batch: Any) -> list[NDArray[Any]]:
    """Return the numbers of the tensors of a batch, as they are stored."""
    leaves = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.layout is torch.strided]
    return [to_array(leaf.detach().cpu().reshape(-1)) for leaf in leaves]


def _without_positions(loader: Any) -> str:
    """Return why a loader cannot say where its examples are in the data; nothing where it can."""
    if not isinstance(loader, Iterable):
        raise AadslError(
            f"batches cannot be taken from {type(loader).__name__}", hint="give a DataLoader, or what yields batches"
        )
    if not isinstance(loader, DataLoader):
        return f"{type(loader).__name__} tells no positions of examples"
    return "its dataset is iterable and has no positions" if isinstance(loader.dataset, IterableDataset) else ""


def _positions(found: Any, dataset: Any, data: Any) -> NDArray[np.int64] | None:
    """Return positions in ``data`` of what the sampler gave for ``dataset``, a part of it; None where they are none."""
    try:
        positions = np.atleast_1d(np.asarray(found))
    except (ValueError, TypeError):
        return None
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        return None
    while data is not None and isinstance(dataset, Subset) and dataset is not data:
        dataset, positions = dataset.dataset, np.asarray(dataset.indices)[positions]
    return positions.astype(np.int64)


def _looked_up(data: Any, positions: NDArray[np.int64], states: Mapping[str, bytes]) -> Any:
    """Return the examples of ``data`` at ``positions`` as a replay will look them up; None where it cannot."""
    with left_as_they_were(["cpu", PYTHON, NUMPY]):
        try:
            examples = Examples.of(data)
            begun = {name: as_tensor(state) for name, state in states.items()}
            return examples.drawn(examples.rows(positions), begun) if states else examples.take(positions)
        except Exception:  # whatever the user's dataset raises, its batches can be stored
            return None
