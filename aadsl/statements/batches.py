"""Predicates over the examples of each step's batch: ``share(label_noise == true) > 0.1``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aadsl.language import Column
from aadsl.statements.axis import Coordinates

if TYPE_CHECKING:
    from aadsl.study import Study

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class BatchExamples:
    """Every example of every batch, one row each, in the order of training.

    Attributes:
        coordinates: by name, metadata that was recorded with the batches, else a coordinate of the training data,
            looked up by the recorded index.
        of_step: (rows,) the step that a row belongs to.
        steps: how many steps there are.
    """

    coordinates: Coordinates
    of_step: NDArray[np.int64]
    steps: int

    def per_step(self, truths: Column, predicate: Callable[[Counts, Counts, Counts], Column]) -> Column:
        """Return a member of :data:`PREDICATES` of one truth value a row."""
        known = np.broadcast_to(truths.known, truths.values.shape)
        rows = (self.of_step[truths.matching()], self.of_step[known], self.of_step)
        return predicate(*(np.bincount(chosen, minlength=self.steps) for chosen in rows))


def batch_examples(study: Study) -> BatchExamples:
    """Return what is known of the examples that each step of a study consumed."""
    trajectory, data = study.trajectory, study.history.data
    of_step, index, recorded = _rows(trajectory)
    readers = {} if recorded is None else dict(recorded.readers)
    if data.distinct and len(index) == len(of_step):
        known, offsets = data.coordinates()
        columns = Coordinates.of(known, "example")
        job = np.searchsorted([job.start for job in data.jobs], of_step, side="right") - 1
        index = np.where((index >= 0) & (offsets[job] >= 0), index + offsets[job], -1)
        readers = {
            name: partial(_looked_up, columns, name, index) for name in columns.names if name != "example"
        } | readers
    return BatchExamples(Coordinates(readers, len(of_step)), of_step, trajectory.length)


def _rows(trajectory: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], Coordinates | None]:
    """Return step and index of every row, and the metadata that was recorded with the batches."""
    recorded = getattr(trajectory, "examples", None)
    if recorded is not None:
        index = recorded["index"].values if "index" in recorded.variables else np.empty(0, np.int64)
        return recorded["step"].values, index, Coordinates.of(recorded, str(recorded["step"].dims[0]))
    batches = [trajectory.batch_indices(step) for step in range(trajectory.length)]
    sizes = [0 if batch is None else len(batch) for batch in batches]
    index = np.concatenate([np.empty(0, np.int64), *(batch for batch in batches if batch is not None)])
    return np.repeat(np.arange(len(batches)), sizes), index, None


def _looked_up(data: Coordinates, name: str, index: NDArray[np.int64]) -> Column:
    column = data.column(name)
    known = np.broadcast_to(column.known, column.values.shape)[index] & (index >= 0)
    missing = column.values.dtype.type(-1 if column.kind == "text" else 0)
    return Column(column.kind, np.where(known, column.values[index], missing), known, column.categories)


def _any(true: Counts, informed: Counts, total: Counts) -> Column:
    """Whether it holds for at least one example; unknown where it is not known to, and some are unknown."""
    return Column("boolean", true > 0, (true > 0) | ((informed == total) & (total > 0)))


def _all(true: Counts, informed: Counts, total: Counts) -> Column:
    """Whether it holds for every example; known to be false as soon as it fails for one."""
    return Column("boolean", (true == total) & (total > 0), (true < informed) | ((informed == total) & (total > 0)))


def _share(true: Counts, informed: Counts, total: Counts) -> Column:
    """The part of the examples for which it holds, from 0 to 1, among those where that is known."""
    del total
    return Column("number", true / np.maximum(informed, 1), informed > 0)


PREDICATES: dict[str, Callable[[Counts, Counts, Counts], Column]] = {"any": _any, "all": _all, "share": _share}
"""From how many examples of each step hold, how many are known and how many there are, to one value a step."""
