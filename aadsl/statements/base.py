"""What every statement is: a syntax node that resolves to an action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aadsl.language import Name, Node
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result

Action = Callable[[Result], None]
"""A resolved statement: all names are objects, running it adds to the result and to its session."""


@dataclass(frozen=True)
class Statement(Node):
    """A statement. Its docstring is its help text: what it does, a program of examples, and the rest."""

    def resolve(self, scope: Scope) -> Action | None:
        """Return the action; report every mistake to ``scope`` and return None where there is one."""
        raise NotImplementedError


@dataclass(frozen=True)
class Definition(Statement):
    """A statement that gives a name a meaning."""

    name: Name

    def resolve(self, scope: Scope) -> Action | None:
        """Return the action; after a mistake the name is lost, so that its uses are no further mistakes."""
        action = self.define(scope)
        if action is None:
            scope.lost.add(self.name.text)
        return action

    def define(self, scope: Scope) -> Action | None:
        """Define the name in ``scope`` and return the action; report every mistake."""
        raise NotImplementedError
