"""What expressions are evaluated over, and the protocol they follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aadsl.errors import Span

if TYPE_CHECKING:
    from aadsl.language.columns import Column
    from aadsl.language.nodes import Name, Reference, Scalar


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
