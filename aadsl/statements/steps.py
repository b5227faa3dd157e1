"""The steps of the loaded trajectory: what the conditions of stages are evaluated over."""

from __future__ import annotations

from aadsl.core.errors import unknown_name
from aadsl.language import Column, Expression, Name, Reference
from aadsl.language.conditions import truth
from aadsl.statements.axis import OverExamples
from aadsl.statements.batches import PREDICATES
from aadsl.statements.scope import Scope


class OverSteps(OverExamples):
    """An environment over steps: coordinates, the stages defined so far, predicates over each step's examples."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope.steps, scope.names, scope.report, "this trajectory")
        self.scope = scope

    def way_out(self, name: str) -> str:
        """Return the hint for a name that is no coordinate."""
        if name in self.scope.stages or name in self.scope.families:
            return f'"{name}" is a stage; combine it outside the condition: (steps where …) and {name}'
        return super().way_out(name)

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
        if function.text not in PREDICATES:
            problem = unknown_name("predicate", function.text, PREDICATES)
            self.report(function.span, problem.message, problem.hint)
            return None
        batches = self.scope.batches()
        truths = truth(
            condition, OverExamples(batches.coordinates, self.names, self.report, "the examples of the batches")
        )
        return None if truths is None else batches.per_step(truths, PREDICATES[function.text])
