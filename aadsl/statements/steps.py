"""The steps of the loaded trajectory: what the conditions of stages are evaluated over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aadsl.language import Column, Expression, Name, Reference
from aadsl.statements.axis import Examples

if TYPE_CHECKING:
    from aadsl.statements.scope import Scope


class Steps(Examples):
    """An environment over steps: coordinates, the stages defined so far, predicates over each step's examples."""

    where = "this trajectory"

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope.steps, scope.names, scope.report)
        self.scope = scope

    def stage(self, reference: Reference) -> Column | None:
        """Return which steps a stage holds."""
        names = self.scope.stage_names(reference)
        if names is None:
            return None
        if len(names) > 1:
            member = names[0].partition("[")[2]
            hint = f"name one member, for example {reference.text}[{member}"
            self.report(
                reference.span, f'"{reference.text}" is a family of {len(names)} stages; one is needed here', hint
            )
            return None
        return Column("boolean", self.scope.stages[names[0]])

    def predicate(self, function: Name, condition: Expression) -> Column | None:
        """Return one value a step."""
        self.report(function.span, "this trajectory has no metadata of single examples")
        return None
