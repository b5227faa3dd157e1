"""Examples that come with their positions, so that a training loop can say which ones it used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from aadsl.core.generators import NUMPY, PYTHON, state_of


def indexed(dataset: Any) -> Dataset[tuple[int, Any]]:
    """Return a map-style dataset whose items are pairs (position, item of ``dataset``).

    A ``DataLoader`` over it gives batches (positions, batch), for loops of which
    :meth:`aadsl.Recorder.batches` knows too little:

    >>> import torch
    >>> loader = torch.utils.data.DataLoader(indexed(torch.arange(10, 14)), batch_size=2)
    >>> [(positions.tolist(), batch.tolist()) for positions, batch in loader]
    [([0, 1], [10, 11]), ([2, 3], [12, 13])]
    """
    return _Indexed(dataset)


class _Indexed(Dataset[tuple[int, Any]]):
    """Has what the dataset has besides, as workers may look for it."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return index, self.dataset[index]

    def __getitems__(self, indices: Sequence[Any]) -> list[tuple[Any, Any]]:
        together = getattr(self.dataset, "__getitems__", None)
        items = together(indices) if together else [self.dataset[index] for index in indices]
        return list(zip(indices, items, strict=True))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


class DrawnPositions(NamedTuple):
    """Positions of examples that were made with random numbers, and the states that generators had before that.

    ``states`` are by name, as :mod:`aadsl.core.generators` has them, of those that were drawn from.
    """

    positions: Any
    states: Mapping[str, bytes]


class _Drawing(_Indexed):
    """Says with each item the states of the random generators before the first of its batch."""

    def __getitem__(self, index: Any) -> Any:
        states = _states()
        return index, self.dataset[index], states

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        states = _states()
        return [(position, item, states) for position, item in super().__getitems__(indices)]


def _states() -> dict[str, bytes]:
    return {name: state_of(name) for name in ("cpu", PYTHON, NUMPY)}


def with_positions(loader: DataLoader[Any], *, drawing: bool = False) -> DataLoader[Any]:
    """Return a loader like ``loader``, a map-style one, whose batches are pairs (positions, batch).

    It shares the sampler and the generator, and asks both for as much: the same batches come in the same order.
    ``drawing``: instead of the positions there is a :class:`DrawnPositions`, as seen where the batch is made, in a
    worker say.
    """
    twin = copy.copy(loader)
    inside = vars(loader).get("base_dataloader")  # of one that Accelerate prepared
    if inside is not None:
        vars(twin)["base_dataloader"] = with_positions(inside, drawing=drawing)
        return twin
    # A loader lets nobody set these afterwards, because its sampler may have been made for another dataset.
    collate = (_Seen if drawing else _Paired)(loader.collate_fn, batched=loader.batch_sampler is not None)
    items = _Drawing(loader.dataset) if drawing else _Indexed(loader.dataset)
    vars(twin).update(dataset=items, collate_fn=collate, _iterator=None)
    return twin


class _Paired:
    """Collates pairs (position, item) to (positions, batch); without a batch sampler there is one pair."""

    def __init__(self, collate: Callable[[Any], Any], *, batched: bool) -> None:
        self._collate, self._batched = collate, batched

    def __call__(self, pairs: Any) -> tuple[Any, Any]:
        if not self._batched:
            position, item = pairs
            return position, self._collate(item)
        return [position for position, _ in pairs], self._collate([item for _, item in pairs])


class _Seen(_Paired):
    """Collates triples (position, item, states) to (what was drawn, batch)."""

    def __call__(self, triples: Any) -> tuple[Any, Any]:
        states = (triples[0] if self._batched else triples)[2]
        pairs = [triple[:2] for triple in triples] if self._batched else triples[:2]
        positions, batch = super().__call__(pairs)
        return DrawnPositions(
            positions, {name: state for name, state in states.items() if state_of(name) != state}
        ), batch
