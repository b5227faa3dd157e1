"""The batches of recorded steps: as they were stored, or looked up in the training data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import _lru_cache_wrapper, cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.data.examples import Examples, nbytes, tensors_in, to_device
from aadsl.replayed.training_data import TrainingData
from aadsl.trajectory import Trajectory

AHEAD = 64  # steps whose examples are decoded together, where processes decode them
STEPS = 1 << 13  # steps whose rows of the data are kept
RECENT, RECENT_BYTES = 4, 1 << 26  # batches kept: a replay reads them, and soon a difference quotient reads them twice


class Held:
    """Micro-batches, and how often each of their tensors had been written to when they were loaded."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts
        self._tensors = [*tensors_in(parts)]
        self._versions = [tensor._version for tensor in self._tensors]

    @property
    def is_as_loaded(self) -> bool:
        """Whether nothing wrote to them since."""
        return self._versions == [tensor._version for tensor in self._tensors]


class BatchLoader:
    """Loads the micro-batches of recorded steps onto one device.

    Attributes:
        trajectory: what was recorded.
        data: what the recorded indices point into.
        device: where the batches are wanted.
    """

    def __init__(self, trajectory: Trajectory, data: TrainingData, device: torch.device) -> None:
        self.trajectory, self.data, self.device = trajectory, data, device

    @cached_property
    def kept(self) -> int:
        """Number of steps whose batches are kept: more of small ones, where they are made example by example."""
        # Rows of a tensor are gathered anew in a fifth of the time that fresh memory for keeping them takes.
        if all(part.tensors for part in self.data.distinct):
            return RECENT
        return max(RECENT, RECENT_BYTES // max(1, nbytes(self._load(0))))

    def at(self, index: int) -> tuple[Any, ...]:
        """Return the micro-batches of a step; those asked for lately are kept, unless the loss wrote to them."""
        held = self.recent(index)
        return held.parts if held.is_as_loaded else self._load(index)

    @cached_property
    def recent(self) -> _lru_cache_wrapper[Held]:
        """Those of the latest steps, as they were loaded."""
        return lru_cache(maxsize=self.kept)(lambda index: Held(self._load(index)))

    def forget(self) -> None:
        """Load all batches anew from now on."""
        self.__dict__.pop("recent", None)

    def looked_up(self, index: int, data: TrainingData) -> tuple[Any, ...]:
        """Return the micro-batches of step ``index``, its examples taken from ``data``.

        Raises:
            AadslError: the run stored its batches without saying which examples they were, or ``data`` has none for it.
        """
        examples = data.at(index)
        drawn = self.trajectory.rng_states(index, loader=True)
        parts = zip(self._indices(index), drawn, strict=True)
        return tuple(self._made(examples, examples.rows(part), states) for part, states in parts)

    def _made(self, examples: Examples, rows: NDArray[np.int64], states: Mapping[str, Tensor]) -> Any:
        """Return one micro-batch, made with the random numbers that it was made with."""
        return examples.drawn(rows, states, self.device) if states else examples.gathered(rows, self.device)

    def _load(self, index: int) -> tuple[Any, ...]:
        rows = self._rows.get(index)
        stored = self.trajectory.micro_batches(index) if rows is None else None
        if stored is not None:
            return tuple(to_device(batch, self.device) for batch in stored)
        examples = self.data.at(index)
        if rows is None:
            rows = tuple(examples.rows(part) for part in self._indices(index))
            # Many runs pass over the same steps: they are looked for and compared with the data once.
            if len(self._rows) < STEPS:
                self._rows[index] = rows
        if examples.tensors:
            return tuple(examples.gathered(part, self.device) for part in rows)
        drawn = self.trajectory.rng_states(index, loader=True)
        if not (any(drawn) or all(examples.items.holds(part.tolist()) for part in rows)):
            self._foresee(index, examples)
        return tuple(self._made(examples, part, states) for part, states in zip(rows, drawn, strict=True))

    def _foresee(self, index: int, examples: Examples) -> None:
        """Decode the examples of the steps from ``index`` on together, where processes do that."""
        if examples.items.decoders:
            end = next(job.stop for job in self.trajectory.jobs if job.start <= index < job.stop)
            soon = [self.trajectory.batch_indices(t) for t in range(index, min(index + AHEAD, end))]
            known = [indices for indices in soon if indices is not None]
            examples.items.foresee(examples.rows(np.concatenate(known)).tolist() if known else [])

    @cached_property
    def _rows(self) -> dict[int, tuple[NDArray[np.int64], ...]]:
        """The rows of the data of each micro-batch, of the steps that were looked up first."""
        return {}

    def _indices(self, index: int) -> list[NDArray[np.int64]]:
        """Return which examples each micro-batch of a step used."""
        indices = self.trajectory.batch_indices(index)
        if indices is None:
            raise AadslError(
                f"which examples step {index} used was not recorded, only their values",
                hint="record indices=... to be able to replace data",
            )
        sizes = self.trajectory.micro_batch_sizes(index)
        return np.split(indices, np.cumsum(sizes)[:-1]) if len(sizes) > 1 else [indices]


class RecordedBatches:
    """The micro-batches of one recorded step, of the data that it was recorded with or of others."""

    def __init__(self, loader: BatchLoader, index: int, data: Any = None) -> None:
        self._loader, self._index, self._data = loader, index, data

    def __call__(self) -> tuple[Any, ...]:
        """Return the micro-batches, on the run's device."""
        loader = self._loader
        if self._data is None:
            # Their containers anew: a loss may take members out of them.
            return tuple(to_device(part, loader.device) for part in loader.at(self._index))
        return loader.looked_up(self._index, TrainingData.of(self._data, loader.trajectory))

    def looked_up_in(self, data: Any) -> RecordedBatches:
        """Return the same examples of other data."""
        return RecordedBatches(self._loader, self._index, data)
