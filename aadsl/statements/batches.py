"""Predicates over the examples of each step's batch: ``share(label_noise == true) > 0.1``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aadsl.language import Column
from aadsl.statements.axis import Coordinates
from aadsl.statements.studied import Studied

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


def batch_examples(study: Studied) -> BatchExamples:
    """Return what is known of the examples that each step of a study consumed."""
    recorded, data = study.trajectory.examples, study.training_data
    own = Coordinates.of(recorded, str(recorded["step"].dims[0]))
    of_step, readers = recorded["step"].values, dict(own.readers)
    if data.distinct and "index" in recorded.variables:
        known, offsets = data.coordinates()
        columns, index = Coordinates.of(known, "example"), recorded["index"].values
        job = np.searchsorted([job.start for job in data.jobs], of_step, side="right") - 1
        index = np.where((index >= 0) & (offsets[job] >= 0), index + offsets[job], -1)
        readers = {
            name: partial(_looked_up, columns, name, index) for name in columns.names if name != "example"
        } | readers
    return BatchExamples(Coordinates(readers, len(of_step)), of_step, study.trajectory.length)


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
