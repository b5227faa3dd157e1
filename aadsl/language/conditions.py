"""Conditions: ``1 <= epoch < 3 and (tag in ["a", "b"] or not share(label == 4) > 0.1)``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

from lark.ast_utils import AsList

from aadsl.core.errors import did_you_mean
from aadsl.language import columns
from aadsl.language.columns import Column, Kind
from aadsl.language.nodes import Environment, Expression, Items, Literal, Name, Node, Scalar

NOUNS: dict[Kind, str] = {"number": "a number", "text": "text", "boolean": "true or false"}


@dataclass(frozen=True)
class AnyOf(Node, AsList):
    """``a or b or c``, over conditions or stages."""

    operands: tuple[Expression, ...]

    def evaluate(self, environment: Environment) -> Column | None:
        """Return where at least one operand holds."""
        return _joined(columns.disjunction, self.operands, environment)


@dataclass(frozen=True)
class AllOf(Node, AsList):
    """``a and b and c``, over conditions or stages."""

    operands: tuple[Expression, ...]

    def evaluate(self, environment: Environment) -> Column | None:
        """Return where every operand holds."""
        return _joined(columns.conjunction, self.operands, environment)


@dataclass(frozen=True)
class Negation(Node):
    """``not a``, over conditions or stages."""

    operand: Expression

    def evaluate(self, environment: Environment) -> Column | None:
        """Return where the operand is known not to hold."""
        value = truth(self.operand, environment)
        return None if value is None else columns.negation(value)


@dataclass(frozen=True)
class Compare(Node, AsList):
    """``1 <= epoch < 3``: operands and comparison symbols in turn."""

    parts: tuple[Any, ...]

    def evaluate(self, environment: Environment) -> Column | None:
        """Return where every neighboring pair compares so."""
        operands = [(operand, operand.evaluate(environment)) for operand in self.parts[::2]]
        results = [
            _compared(environment, left, symbol, right)
            for (left, right), symbol in zip(pairwise(operands), self.parts[1::2], strict=True)
        ]
        known = [result for result in results if result is not None]
        return reduce(columns.conjunction, known) if len(known) == len(results) else None


@dataclass(frozen=True)
class Contained(Node):
    """``label in [4, 9]``, ``tag in names``."""

    operand: Expression
    items: Items | Name

    def evaluate(self, environment: Environment) -> Column | None:
        """Return where the value is one of the items."""
        items = self.items.values if isinstance(self.items, Items) else environment.collection(self.items)
        value = self.operand.evaluate(environment)
        if value is None or items is None:
            return None
        results = [_compared(environment, (self.operand, value), "==", (self.items, _scalar(item))) for item in items]
        if None in results:
            return None
        nowhere = columns.compare(value, "!=", value)
        return reduce(columns.disjunction, [result for result in results if result is not None], nowhere)


@dataclass(frozen=True)
class NotContained(Contained):
    """``label not in [4, 9]``."""

    def evaluate(self, environment: Environment) -> Column | None:
        """Return where there is a value, and it is none of the items."""
        inside = Contained(self.span, self.operand, self.items).evaluate(environment)
        return None if inside is None else columns.negation(inside)


@dataclass(frozen=True)
class Matches(Node):
    """``tag matches "bad.*"``: the regular expression is found anywhere in the text."""

    operand: Expression
    pattern: Literal

    def evaluate(self, environment: Environment) -> Column | None:
        """Return where the pattern is found."""
        value = self.operand.evaluate(environment)
        try:
            pattern = re.compile(str(self.pattern.value))
        except (re.error, OverflowError) as error:
            environment.report(self.pattern.span, f"not a regular expression: {error}")
            return None
        if value is None:
            return None
        if value.kind != "text":
            environment.report(self.operand.span, f"`matches` needs text, this is {NOUNS[value.kind]}")
            return None
        return columns.match(value, pattern.search)


@dataclass(frozen=True)
class Arithmetic(Node):
    """``left + right``, also with ``- * / %``."""

    left: Expression
    symbol: str
    right: Expression

    def evaluate(self, environment: Environment) -> Column | None:
        """Return the numbers; where a side is missing or the result is not finite, there is none."""
        left, right = _number(self.left, environment), _number(self.right, environment)
        return None if left is None or right is None else columns.calculate(left, self.symbol, right)


@dataclass(frozen=True)
class Negative(Node):
    """``-epoch``."""

    operand: Expression

    def evaluate(self, environment: Environment) -> Column | None:
        """Return the numbers with the other sign."""
        value = _number(self.operand, environment)
        return None if value is None else columns.calculate(Column.of(0), "-", value)


@dataclass(frozen=True)
class Predicate(Node):
    """``share(label == 4)``: how a condition holds over the examples of each step's batch."""

    function: Name
    condition: Expression

    def evaluate(self, environment: Environment) -> Column | None:
        """Return one value a step."""
        return environment.predicate(self.function, self.condition)


def truth(operand: Expression, environment: Environment) -> Column | None:
    """Evaluate an operand that must be true or false."""
    value = operand.evaluate(environment)
    truths = None if value is None else value.truths()
    if value is not None and truths is None:
        hint = "compare it with something: ==, !=, <, <=, >, >=, in, matches"
        environment.report(operand.span, f"a condition is needed here, this is {NOUNS[value.kind]}", hint)
    return truths


def _joined(
    join: Callable[[Column, Column], Column], operands: tuple[Expression, ...], environment: Environment
) -> Column | None:
    values = [truth(operand, environment) for operand in operands]
    known = [value for value in values if value is not None]
    return reduce(join, known) if len(known) == len(values) else None


def _number(operand: Expression, environment: Environment) -> Column | None:
    value = operand.evaluate(environment)
    if value is not None and value.kind != "number":
        environment.report(operand.span, f"a number is needed here, this is {NOUNS[value.kind]}")
        return None
    return value


def _scalar(value: Scalar) -> Column:
    return Column.text(value) if isinstance(value, str) else Column.of(value)


def _compared(
    environment: Environment,
    left: tuple[Node | Expression, Column | None],
    symbol: str,
    right: tuple[Node | Expression, Column | None],
) -> Column | None:
    """Compare two evaluated operands, or report why they cannot be."""
    (left_node, a), (right_node, b) = left, right
    if a is None or b is None:
        return None
    if "boolean" in (a.kind, b.kind):
        a, b = a.truths() or a, b.truths() or b
    if a.kind == b.kind and (symbol in ("==", "!=") or a.kind != "boolean"):
        return columns.compare(a, symbol, b)
    if a.kind == b.kind:
        environment.report(left_node.span, f"true and false have no order, so `{symbol}` means nothing here")
        return None
    # The literal is what the user can mend, so the caret goes there.
    wrong, column, other_node, other = (
        (left_node, a, right_node, b) if isinstance(left_node, Literal) else (right_node, b, left_node, a)
    )
    subject = f'"{other_node.text}"' if isinstance(other_node, Name) else "the other side"
    message = f"{subject} is {NOUNS[other.kind]}, this is {NOUNS[column.kind]}"
    environment.report(wrong.span, message, _kind_hint(other))
    return None


def _kind_hint(column: Column) -> str:
    values = column.distinct()
    return f"its values: {', '.join(values)}" if column.values.ndim and values else ""


def never(name: str, text: str, column: Column) -> str:
    """Return why nothing has the value ``text``: the nearest and the existing values."""
    folded = {category.casefold(): category for category in column.categories}
    same = folded.get(text.casefold())
    close = f'did you mean "{same}"?' if same else did_you_mean(text, column.categories)
    listing = ", ".join(column.distinct(limit=12))
    return " ".join(filter(None, [f'{name} is never "{text}";', close, f"values: {listing}"]))
