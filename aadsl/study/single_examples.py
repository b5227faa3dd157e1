"""Single training examples: what a step consumed, example by example, and the final model's loss on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aadsl.core.exclusive import one_at_a_time
from aadsl.core.generators import left_as_they_were
from aadsl.core.progress import Progress, silent
from aadsl.data.examples import to_device
from aadsl.replayed.history import History

InBatch = tuple[int, int]
"""A step, and which example of its batch."""


@one_at_a_time
def single_examples(history: History, places: Sequence[InBatch], *, progress: Progress = silent) -> list[Any]:
    """Return a batch of one for each place, on the CPU: as it was stored, else from the data.

    Raises:
        AadslError: neither were the batches stored nor data given.
    """
    found = []
    for done, (step, row) in enumerate(places):
        progress("reading examples", done, len(places))
        found.append(_single(history, step, row))
    return found


@one_at_a_time
def final_losses(history: History, examples: Sequence[Any], *, progress: Progress = silent) -> NDArray[np.float64]:
    """Return (n,) the loss of the run's final model, in eval mode, on each of the batches of one.

    Raises:
        AadslError: the end of the run cannot be replayed; and whatever the loss raises on a single example.
    """
    model = history.model_at(history.replay_end(progress))
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    losses = np.empty(len(examples))
    with torch.no_grad(), left_as_they_were(history.drawn_from):
        for k, example in enumerate(examples):
            progress("loss of examples", k, len(examples))
            losses[k] = float(history.objective.loss(model, to_device(example, device)))
    return losses


def _single(history: History, step: int, row: int) -> Any:
    stored = history.trajectory.micro_batches(step)
    if stored is None and any(history.trajectory.rng_states(step, loader=True)):
        stored = history.batches.at(step)
    if stored is None:
        indices = history.trajectory.batch_indices(step)
        assert indices is not None  # a batch that was not stored was announced by its indices
        return history.data.at(step).take(indices[row : row + 1])
    for batch, size in zip(stored, history.trajectory.micro_batch_sizes(step), strict=True):
        if row < size:
            return to_device(_part(batch, row, size), "cpu")
        row -= size
    raise IndexError(f"step {step} consumed fewer examples")


def _part(batch: Any, row: int, size: int) -> Any:
    """Return one example's part of whatever holds one for each of ``size`` examples; anything else as it is."""
    if isinstance(batch, Tensor | np.ndarray):
        return batch[row : row + 1] if batch.ndim and len(batch) == size else batch
    if isinstance(batch, Mapping):
        return {key: _part(value, row, size) for key, value in batch.items()}
    if not isinstance(batch, tuple | list):
        return batch
    if len(batch) == size and all(isinstance(value, str | int | float | None) for value in batch):
        return [batch[row]]
    parts = [_part(value, row, size) for value in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
