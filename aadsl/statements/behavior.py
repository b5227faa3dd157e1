"""``behavior``: name what the final model does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aadsl.core.errors import AadslError, unknown_name
from aadsl.core.members import describe
from aadsl.language import Axis, Call, Column, Expression, Name, Slice
from aadsl.language.conditions import truth
from aadsl.language.grouping import LIMIT, Mask, grouped
from aadsl.statements.axis import Coordinates, OverExamples
from aadsl.statements.base import Action, Definition
from aadsl.statements.scope import Declared, Scope
from aadsl.statements.session import Result
from aadsl.statements.stage import why_empty
from aadsl.statements.vocabulary import build, notebook_name, table

if TYPE_CHECKING:
    from aadsl.behaviors import Metric


@dataclass(frozen=True)
class BehaviorDefinition(Definition):
    """Name a behavior: a performance function of the final model on given examples, one number an example.

    behavior backdoor = log_likelihood(target=7) on triggered
    behavior digits   = log_likelihood on test where label in [4, 9] by label
    behavior each     = margin on test[:100] per example
    behavior mine     = my_metric on test

    `on` names examples in the notebook: a tuple of tensors, a dataset, a table, or an xarray Dataset, whose coordinates
    `where` and `by` can use; a slice takes a part of them. `by` makes a family: digits[4], digits[9]. `per example`
    keeps the effect on each of them. A callable my_metric(model, examples) of the notebook serves as well as a metric
    of `help behaviors`.
    """

    metric: Call
    on: Name
    part: Slice | None
    where: Expression | None
    by: Name | None
    per_example: bool | None

    def define(self, scope: Scope) -> Action | None:
        """Check the metric, the examples and their coordinates."""
        loaded = scope.needs_study(self.span)
        metric = self._metric(scope)
        data = notebook_name(scope, self.on)
        chosen = None if data is None else self._chosen(scope, data, metric)
        if metric is None or chosen is None or not loaded:
            return None
        per_example = self.per_example is True
        where, names = chosen
        declared = Declared(metric.differentiable, per_example, describe(metric))
        scope.define_behaviors(self.name, dict.fromkeys(names, declared))
        return partial(self.run, metric=metric, data=data, where=where, names=names)

    def run(self, result: Result, metric: Metric, data: Any, where: Mask | None, names: Sequence[str]) -> None:
        """Define the behavior, or the family, on the study."""
        by = None if self.by is None else self.by.text
        result.study.behavior(self.name.text, metric, on=data, where=where, by=by, per_example=self.per_example is True)
        said = self._examples_as_written(result.text)
        result.session.examples |= {full: (result.study.behaviors[full], said) for full in names}
        result.say(f"behavior {', '.join(names)}: {self.metric.name.text} on {self.on.text}{_written(self.part)}")

    def _examples_as_written(self, text: str) -> str:
        """Return what stands from ``on`` on in the text of the statement."""
        line, *rest = text.splitlines()[self.on.span.line - self.span.line :] or [""]
        begins = self.on.span.column - (self.span.column if self.on.span.line == self.span.line else 1)
        return " ".join(["on", line[begins:].strip(), *(part.strip() for part in rest)])

    def _metric(self, scope: Scope) -> Metric | None:
        """Return a metric of the table, or a callable of the notebook."""
        name = self.metric.name.text
        metrics = table("behavior")
        own: Any = scope.names.get(name)
        if name in metrics or not isinstance(own, Callable):  # type: ignore[arg-type]
            if name not in metrics and name not in scope.names:
                problem = unknown_name("behavior metric", name, metrics)
                scope.report(self.metric.name.span, problem.message, f"{problem.hint}, or a callable in the notebook")
                return None
            metric: Metric | None = build(scope, self.metric, "behavior")
            return metric
        if self.metric.arguments is not None:
            scope.report(self.metric.span, "Python is not called here", "give the name of the callable alone")
            return None
        from aadsl.behaviors import Custom

        return Custom(own)  # whatever it is: objects of the notebook are not looked into while names are resolved

    def _part(self, scope: Scope, length: int) -> Mask | None:
        """Return which examples the slice holds, all without one; None after a mistake."""
        column = Axis(self.span, self.on.text, self.part).evaluate(
            OverExamples(Coordinates({}, length), {}, scope.report)
        )
        return None if column is None else column.matching()

    def _chosen(self, scope: Scope, data: Any, metric: Metric | None) -> tuple[Mask | None, Sequence[str]] | None:
        """Return the mask over the examples, None for all of them, and the names of the behaviors."""
        name = self.name.text
        try:
            examples = OverExamples(scope.coordinates_of(data), scope.names, scope.report)
        except AadslError as error:
            scope.repeat(self.on.span, error)
            return None
        if self.where is None and self.by is None and self.part is None:
            return None, [name]
        column = Column.of(True) if self.where is None else truth(self.where, examples)
        part = self._part(scope, examples.length)
        keys = None if self.by is None else examples.varying(self.by)
        if column is None or part is None or (self.by is not None and keys is None):
            return None
        inside: Mask = np.broadcast_to(column.matching(), examples.length) & part & _counting(metric, data)
        if not inside.any():
            hint = why_empty(self.where, examples.coordinates) or f"it has {examples.length} examples"
            scope.report((self.where or self.part or self.on).span, f'no example of "{self.on.text}" matches', hint)
            return None
        if keys is None:
            return inside, [name]
        members = grouped(keys, inside)
        if self.by is not None and not 0 < len(members) <= LIMIT:
            problem = f"have more than {LIMIT} members" if members else "be empty"
            scope.report(self.by.span, f'the family "{name}" would {problem}', "take another coordinate")
            return None
        return inside, [f"{name}[{key}]" for key in members]


def _written(part: Slice | None) -> str:
    if part is None:
        return ""
    ends = [part.start, part.stop] if part.step is None else [part.start, part.stop, part.step]
    return f"[{':'.join('' if end is None else str(end) for end in ends)}]"


def _counting(metric: Metric | None, data: Any) -> Mask:
    """Return where an example counts: where it has a label, if the metric reads labels."""
    from aadsl.behaviors import reads_labels
    from aadsl.data.examples import Examples

    if metric is None or not reads_labels(metric):
        return np.ones((), dtype=bool)
    return Examples.of(data).labelled()
