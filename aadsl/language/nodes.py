"""Syntax nodes that every part of the language uses: names, values, calls; and what expressions are evaluated over.

A node is a frozen dataclass of its parts; ``span`` says where it stands in the program. Rules of the grammar are named
after these classes, so the parser builds them without a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from lark.ast_utils import AsList, Ast

from aadsl.core.errors import Span
from aadsl.language.columns import Column

Scalar = float | int | str | bool


class Environment(Protocol):
    """The steps of a trajectory, or examples: ``length`` of them, with coordinates."""

    @property
    def length(self) -> int:
        """How many steps or examples there are."""

    def report(self, span: Span, message: str, hint: str = "") -> None:
        """Note a mistake at ``span``."""

    def coordinate(self, name: Name) -> Column | None:
        """Return the column of a name; report it where there is none."""

    def collection(self, name: Name) -> tuple[Scalar, ...] | None:
        """Return the values of a list that lives in the notebook; report it where there is none."""

    def stage(self, reference: Reference) -> Column | None:
        """Return the steps of a stage that was defined before."""

    def predicate(self, function: Name, condition: Expression) -> Column | None:
        """Return one value a step, computed from a condition over the examples of its batch."""


class Expression(Protocol):
    """A node that has a value for each step or example.

    ``evaluate`` returns None where a mistake was found and reported. What stands above passes None on, so that one
    run over a program finds every mistake in it.
    """

    @property
    def span(self) -> Span:
        """Where it stands in the program."""

    def evaluate(self, environment: Environment) -> Column | None:
        """Return the values, or None where a mistake was reported."""


@dataclass(frozen=True)
class Node(Ast):
    """A piece of a program. Equality ignores where it stands."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Name(Node):
    """A name: of a stage, a coordinate, an option, or of something in the notebook."""

    text: str

    def evaluate(self, environment: Environment) -> Column | None:
        """Return the coordinate of this name."""
        return environment.coordinate(self)


@dataclass(frozen=True)
class Literal(Node):
    """A number, a string, or true and false."""

    value: Scalar

    def evaluate(self, environment: Environment) -> Column:
        """Return the value, the same everywhere."""
        if isinstance(self.value, str):  # unlike a coordinate's empty text, a written one is a value
            return Column.text(self.value)
        return Column.of(self.value)


@dataclass(frozen=True)
class Items(Node, AsList):
    """``[4, 9]``: a list of literals."""

    literals: tuple[Literal, ...]

    @property
    def values(self) -> tuple[Scalar, ...]:
        """The values alone."""
        return tuple(literal.value for literal in self.literals)


@dataclass(frozen=True)
class Argument(Node):
    """``target=7``."""

    name: Name
    value: Literal | Items | Call


@dataclass(frozen=True)
class Positional(Node):
    """A value without a name between the arguments of a call, which the language has no meaning for."""

    value: Literal | Items | Call


@dataclass(frozen=True)
class Call(Node):
    """``margin`` (no arguments given: None) or ``log_likelihood(target=7)``."""

    name: Name
    arguments: tuple[Argument | Positional, ...] | None


@dataclass(frozen=True)
class Reference(Node):
    """``poisoned``, or the member ``source[badnet]`` of a family."""

    name: Name
    member: str | None

    @property
    def text(self) -> str:
        """The full name, as study and datasets write it."""
        return self.name.text if self.member is None else f"{self.name.text}[{self.member}]"

    def evaluate(self, environment: Environment) -> Column | None:
        """Return the steps of this stage."""
        return environment.stage(self)
