"""``stage``: name a set of steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np

from aadsl.language import Expression, Literal, Name, Node
from aadsl.language.conditions import AllOf, Compare, never
from aadsl.language.grouping import Mask
from aadsl.statements.axis import Coordinates
from aadsl.statements.base import Action, Definition
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.steps import OverSteps


@dataclass(frozen=True)
class StageDefinition(Definition):
    """Name a set of steps.

    stage warmup   = steps[0:100]
    stage poisoned = batches where tag == "badnet"
    stage late     = steps[-200:] where lr < 1e-3 and 1 <= epoch < 3
    stage clean    = not poisoned and not warmup
    stage rest     = (steps where epoch == 2) or source[clean]

    `steps` and `batches` mean the same. Slices are Python's: half-open, negative from the end. A step without a
    value never matches. A stage that exists may be defined anew, also by itself.
    """

    selection: Expression

    def define(self, scope: Scope) -> Action | None:
        """Compute which steps the stage holds."""
        member = selected(scope, self.selection)
        if member is None:
            return None
        if not member.any():
            scope.report(self.selection.span, f'stage "{self.name.text}" is empty', why_no_steps(scope, self.selection))
            return None
        scope.define_stages(self.name, {self.name.text: member})
        return partial(self.run, member=member)

    def run(self, result: Result, member: Mask) -> None:
        """Define the stage on the study."""
        result.study.stage(self.name.text, member)
        result.say(f"stage {self.name.text}: {member.sum()} of {len(member)} steps")


def selected(scope: Scope, selection: Expression | None) -> Mask | None:
    """Return which steps a selection holds, all without one; None after a mistake."""
    if not scope.needs_study(scope.span):
        return None
    if selection is None:
        return np.ones(scope.steps.length, dtype=bool)
    column = selection.evaluate(OverSteps(scope))
    return None if column is None else np.broadcast_to(column.matching(), scope.steps.length)


def why_no_steps(scope: Scope, selection: Expression) -> str:
    """Return why a selection may hold no step of the run."""
    default = f"the trajectory has the steps 0 to {scope.steps.length - 1}"
    if isinstance(selection, AllOf):
        default = "its parts have no step in common"
    return why_empty(selection, scope.steps) or default


def why_empty(selection: Any, coordinates: Coordinates) -> str:
    """Return why nothing may have matched: a value that never occurs, the range of a number; else nothing."""
    for node in walk(selection):
        if isinstance(node, Compare) and len(node.parts) == 3:
            name, symbol, literal = node.parts
            if not isinstance(name, Name) or not isinstance(literal, Literal) or name.text not in coordinates.names:
                continue
            column = coordinates.column(name.text)
            if symbol == "==" and isinstance(literal.value, str) and literal.value not in column.categories:
                return never(name.text, literal.value, column)
            if column.kind == "number" and column.values[column.known].size:
                low, high = np.min(column.values[column.known]), np.max(column.values[column.known])
                return f"{name.text} runs from {_shown(low)} to {_shown(high)}"
    return ""


def _shown(value: Any) -> str:
    """Return a number as a hint shows it: a whole one in full."""
    return str(value) if isinstance(value, int | np.integer) else f"{value:g}"


def walk(node: Any) -> Iterator[Node]:
    """Yield a node and all nodes inside it."""
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif isinstance(node, Node) and is_dataclass(node):
        yield node
        for part in fields(node):
            yield from walk(getattr(node, part.name))
