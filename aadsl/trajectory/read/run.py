"""One recorded run as it lies in its source; steps count from its own start."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.core.state import State
from aadsl.trajectory.read.batches import BatchReader
from aadsl.trajectory.read.lazy import StepColumn, part_of, values_of
from aadsl.trajectory.read.rules import layout_of_state, require
from aadsl.trajectory.read.source import RunSource
from aadsl.trajectory.store import header
from aadsl.trajectory.store.segments import cover, segments_in, state_name, states_in
from aadsl.trajectory.store.specs import FRESH_GROUPS, RESTING_GROUPS
from aadsl.trajectory.store.states import read_state

Hyperparameters = dict[str, float | int | bool]


class RecordedRun:
    """Header, segments, states and batches of one run.

    Attributes:
        length: number of committed steps.
        states: the steps whose state is stored, ascending.
    """

    def __init__(self, source: RunSource) -> None:
        self.source = source
        with source.open(header.NAME) as dataset:
            self.header = header.read_header(dataset)
        names = source.names()
        steps = cover(segments_in(names, "steps"))
        self.length = steps[-1].stop if steps else 0
        self.parts = [part_of(source, segment) for segment in steps]
        self.states = tuple(step for step in states_in(names) if step <= self.length)
        self._latest: dict[int, tuple[int, Hyperparameters]] = {}
        self.batches = BatchReader(source, cover(segments_in(names, "batches")))

    def require_same(self) -> None:
        """Make sure that what lies there is what was opened; a recorder may have added to it.

        Raises:
            AadslError: another run was recorded there since, or the run was resumed from an earlier step, or is gone.
        """
        changed = self.source.changed()
        if changed == {header.NAME}:  # closing a run writes its length
            with self.source.open(header.NAME) as dataset:
                changed = set() if header.read_header(dataset).run == self.header.run else changed
        if changed:
            raise AadslError(
                f"{self.source.path} was recorded anew since it was opened: {', '.join(sorted(changed)[:3])} changed",
                hint="open it again: aadsl.open_trajectory(path), or in a cell the load statement",
            )

    def state(self, step: int, device: str | torch.device = "cpu") -> State:
        """Read a stored state."""
        with self.source.open(state_name(step)) as dataset:
            require(layout_of_state(dataset, step, self.header))
            return read_state(dataset, device)

    @cached_property
    def _hyperparameters(self) -> list[dict[str, NDArray[Any]]]:
        """For each group values over steps by torch's name, of those that its optimizer has."""
        attributes = {name: found for part in self.parts for name, found in part.attributes.items()}
        keys = dict.fromkeys(found["hyperparameter"] for found in attributes.values() if "hyperparameter" in found)
        columns: dict[str, StepColumn] = {}
        groups: list[dict[str, str]] = [{} for _ in self.header.optimizers]
        for key in keys:
            for group, own in enumerate(groups):
                name = next((name for name in (f"{key}_{group}", key) if name in attributes), None)
                if name is not None:
                    own[key] = name
                    columns.setdefault(name, StepColumn(name, key, self.parts))
        values = dict(zip(columns, values_of([*columns.values()], self.parts), strict=True))
        return [{key: values[name] for key, name in own.items()} for own in groups]

    def largest_hyperparameters(self, group: int) -> Hyperparameters:
        """Return each scalar of a parameter group at its largest: it shows what was ever switched on."""
        return {key: values.max().item() for key, values in self._hyperparameters[group].items()}

    @cached_property
    def _stretches(self) -> NDArray[np.int64]:
        """Return for each step the first one of the stretch of steps that share all hyperparameters."""
        changed = np.zeros(self.length, dtype=bool)
        for values in {id(values): values for own in self._hyperparameters for values in own.values()}.values():
            changed[1:] |= values[1:] != values[:-1]
        return np.maximum.accumulate(np.where(changed, np.arange(self.length), 0))

    def hyperparameters(self, step: int, group: int) -> Hyperparameters:
        """Return the scalars that one parameter group used in a step."""
        stretch = int(self._stretches[step])
        if self._latest.get(group, (-1,))[0] != stretch:
            scalars = {key: values[stretch].item() for key, values in self._hyperparameters[group].items()}
            self._latest[group] = stretch, scalars
        return dict(self._latest[group][1])

    @cached_property
    def resting(self) -> dict[int, frozenset[int]]:
        """The groups whose optimizer took no step, by the steps at which there are some."""
        return self._groups_in(RESTING_GROUPS)

    @cached_property
    def fresh(self) -> dict[int, frozenset[int]]:
        """The groups that start afresh where others go on, by the steps at which there are some."""
        return self._groups_in(FRESH_GROUPS)

    def _groups_in(self, name: str) -> dict[int, frozenset[int]]:
        if not any(name in part.dtypes for part in self.parts):
            return {}
        texts = StepColumn(name, name, self.parts).values()
        sets = {text: frozenset(map(int, text.split())) for text in set(texts)}
        return {step: sets[text] for step, text in enumerate(texts) if text}
