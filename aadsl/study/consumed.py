"""Which examples the steps of a stage consumed, each once, where, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from aadsl.data.examples import TARGETS
from aadsl.replayed.history import History
from aadsl.study.single_examples import InBatch

Integers = NDArray[np.int64]

NOWHERE = np.iinfo(np.int64).min  # of an example of which no index was recorded


@dataclass(frozen=True)
class ConsumedExamples:
    """The N examples of the batches of some steps.

    Attributes:
        step: (R,) the step of each row, a row being an example of a batch, in the order of training.
        row: (R,) its place in the batch of the step, micro-batches joined.
        example: (R,) which of the N examples it is.
        first: (N,) the row where each was consumed first.
        label: (N,) what they are called: the recorded index where that tells them apart, else consecutive numbers.
        known: (N,) what is known of each: its ``index``, its ``run`` where indices point into several data sets, its
            target, and what was recorded of it where it was consumed first.
    """

    step: Integers
    row: Integers
    example: Integers
    first: Integers
    label: Integers
    known: dict[str, NDArray[Any]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.label)

    def places(self, example: int, member: NDArray[np.bool_]) -> tuple[InBatch, ...]:
        """Return where an example stands in the batches of a stage, (T,) true at its steps."""
        chosen = (self.example == example) & member[self.step]
        return tuple(zip(self.step[chosen].tolist(), self.row[chosen].tolist(), strict=True))

    def totals(self, values: NDArray[np.float64], member: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return (N,) the sum of ``values`` (R,) over the rows of each example in a stage; NaN where it has none."""
        chosen = member[self.step]
        sums = np.bincount(self.example[chosen], values[chosen], len(self))
        return np.where(np.bincount(self.example[chosen], minlength=len(self)) > 0, sums, np.nan)


def consumed(history: History, wanted: NDArray[np.bool_]) -> ConsumedExamples:
    """Return the examples of the steps that are ``wanted`` (T,).

    Examples are the same where their recorded indices point to the same place of the same data; one of which no index
    was recorded is consumed once.
    """
    recorded = history.trajectory.examples
    steps = recorded["step"].to_numpy()
    rows = np.arange(len(steps)) - np.searchsorted(steps, steps)
    chosen = np.flatnonzero(wanted[steps[steps < len(wanted)]])
    step = steps[chosen]
    index = recorded["index"].to_numpy()[chosen] if "index" in recorded else np.full(len(chosen), -1)
    data, offsets = history.data.coordinates() if history.data.distinct else (xr.Dataset(), np.zeros(0, dtype=np.int64))
    starts = [job.start for job in history.data.jobs]
    job = np.searchsorted(starts, step, side="right") - 1
    source = offsets[job] if len(offsets) else np.full(len(job), -1)  # the same for runs on the same data
    source = np.where(index < 0, NOWHERE, np.where(source < 0, -1 - job, source))
    keys = np.stack([source, np.where(index >= 0, index, chosen)], axis=1)
    found, first, example = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    apart = len(np.unique(found[:, 1])) == len(found) and bool((found[:, 0] != NOWHERE).all())
    known: dict[str, NDArray[Any]] = {"index": index[first]}
    if len(np.unique(found[:, 0])) > 1:
        known["run"] = np.array([history.data.jobs[j].name for j in job[first]])
    if len(offsets):
        position = np.where(found[:, 0] >= 0, found[:, 1] + found[:, 0], -1)
        known |= {str(n): _looked_up(data[n].to_numpy(), position) for n in data.data_vars if str(n) in TARGETS}
    own = {str(n): v for n, v in recorded.variables.items() if n not in ("step", "index")}
    known |= {name: values.to_numpy()[chosen][first] for name, values in own.items()}
    label = found[:, 1] if apart else np.arange(len(found))
    return ConsumedExamples(step, rows[chosen], example.ravel(), first, label, known)


def _looked_up(values: NDArray[Any], position: Integers) -> NDArray[Any]:
    """Return the values at these positions; missing where a position is −1."""
    found: NDArray[Any] = values[position]
    if (position < 0).any():
        found = found.astype(object)
        found[position < 0] = None
    return found
