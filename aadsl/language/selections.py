"""Sets of steps: ``steps[0:100]``, ``batches where lr < 0.1``, ``poisoned and not source[clean]``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aadsl.language import columns
from aadsl.language.columns import Column
from aadsl.language.conditions import truth
from aadsl.language.nodes import Environment, Expression, Node


@dataclass(frozen=True)
class Slice(Node):
    """``[0:100]``, ``[-200:]``, ``[::2]``: half-open, as in Python."""

    start: int | None
    stop: int | None
    step: int | None


@dataclass(frozen=True)
class Inline(Node):
    """A set of steps in the place of a stage's name: ``steps[30:50]``, ``(steps where lr < 0.1)``."""

    selection: Expression


@dataclass(frozen=True)
class Axis(Node):
    """``steps`` or ``batches``, all of them or a slice."""

    word: str
    part: Slice | None

    def evaluate(self, environment: Environment) -> Column | None:
        """Return which steps the slice holds."""
        part = self.part
        if part is not None and part.step == 0:
            environment.report(part.span, "a slice cannot go in steps of 0")
            return None
        inside = np.zeros(environment.length, dtype=bool)
        inside[slice(None) if part is None else slice(part.start, part.stop, part.step)] = True
        return Column("boolean", inside)


@dataclass(frozen=True)
class Filtered(Node):
    """``steps[0:100] where lr < 0.1``."""

    selection: Expression
    condition: Expression

    def evaluate(self, environment: Environment) -> Column | None:
        """Return the steps of the selection where the condition holds."""
        selection, condition = self.selection.evaluate(environment), truth(self.condition, environment)
        return None if selection is None or condition is None else columns.conjunction(selection, condition)
