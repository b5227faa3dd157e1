"""Items of a map-style data set, decoded once and held as long as they fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader

from aadsl.core.memory import whole_memory

LIMIT, SHARE = 1 << 30, 8  # bytes that may be held, and no more than this part of the machine's memory
OF_ITEM = 500  # bytes that the containers of an item take, about
PORTION = 32  # items that a process decodes at a time
TOGETHER = 4096  # items that processes decode until they end


class DecodedItems:
    """The items of a data set by their row; a question passes over them again and again.

    Where not all fit, those stay that came first: passed over from end to end, the latest would leave before they are
    wanted again.

    Attributes:
        source: the data set.
        decoders: how many processes decode what is asked for together; with 0 that is done here.
        owner: what is known of the data set as it was when they were decoded.
        watch: what sees to the first decoding in this process, ``watch(decode)``; None where nobody wants to.
    """

    def __init__(self, source: Any, decoders: int = 0) -> None:
        self.source, self.decoders = source, decoders
        self.owner: object = None
        self.watch: Callable[[Callable[[], list[Any]]], list[Any]] | None = None
        self._held: dict[int, Any] = {}
        self._room = _limit()

    def at(self, rows: Sequence[int]) -> list[Any]:
        """Return the items of these rows, in order. Who gets them changes nothing in them."""
        if isinstance(self.source, list | tuple):  # in memory as they are
            return [self.source[row] for row in rows]
        missing = list(dict.fromkeys(row for row in rows if row not in self._held))
        fresh = dict(zip(missing, self.decoded(missing), strict=True))
        for row, item in fresh.items():
            size = _size(item)
            if size <= self._room:
                self._held[row] = item
                self._room -= size
        return [self._held[row] if row in self._held else fresh[row] for row in rows]

    def anew(self, rows: Sequence[int]) -> list[Any]:
        """Return the items of these rows, decoded now as a loader does it: they are others each time."""
        together = getattr(self.source, "__getitems__", None)
        return together(list(rows)) if together else self._here(rows)

    def each(self, rows: Sequence[int]) -> Iterator[Any]:
        """Yield the items of these rows, in order; so many are decoded together that processes are worth it."""
        size = TOGETHER if self.decoders else PORTION
        for start in range(0, len(rows), size):
            yield from self.at(rows[start : start + size])

    def foresee(self, rows: Sequence[int]) -> None:
        """Let the processes decode these rows together, which will be wanted soon, as long as there is room."""
        if self.decoders and self._room:
            self.at(rows)

    def holds(self, rows: Sequence[int]) -> bool:
        """Return whether these rows are at hand."""
        return all(row in self._held for row in rows)

    def decoded(self, rows: Sequence[int]) -> list[Any]:
        """Return the items of these rows, decoded now."""
        if not self.decoders or len(rows) < 2 * PORTION:
            watch, self.watch = self.watch if rows else None, None if rows else self.watch
            return self._here(rows) if watch is None else watch(partial(self._here, rows))
        portions = [rows[start : start + PORTION] for start in range(0, len(rows), PORTION)]
        loader = DataLoader(
            self.source,
            batch_sampler=portions,  # type: ignore[arg-type]  # any iterable of lists will do
            num_workers=self.decoders,
            collate_fn=_as_they_are,
            generator=torch.Generator(),  # the run's own draws nothing for this
        )
        # What processes send lies in files that stay open as long as it lives.
        return [tree_map(_own, item) for portion in loader for item in portion]

    def _here(self, rows: Sequence[int]) -> list[Any]:
        return [self.source[row] for row in rows]

    def foretold(self, count: int) -> int:
        """Return about how many bytes so many items will take here, judged by those that are held."""
        limit = _limit()
        return min(limit, (limit - self._room) * count // max(1, len(self._held)))

    def forget(self) -> None:
        """Decode everything anew from now on: the data set may be another one."""
        self._held.clear()
        self._room = _limit()


def _as_they_are(items: list[Any]) -> list[Any]:
    return items


def _own(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _size(item: Any) -> int:
    leaves = tree_leaves(item)
    return OF_ITEM + sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor | np.ndarray))


def _limit() -> int:
    return int(min(LIMIT, whole_memory() // SHARE))
