"""The names and values that fit a place in a program."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from aadsl.core.arguments import kinds_of
from aadsl.core.errors import AadslError
from aadsl.language.columns import COMPARISONS
from aadsl.language.cursor import Bracket, Cursor
from aadsl.statements.axis import Coordinates
from aadsl.statements.batches import PREDICATES
from aadsl.statements.check import CHECK_OPTIONS
from aadsl.statements.clauses import fields_at, word_of
from aadsl.statements.examples import EXAMPLES_OPTIONS
from aadsl.statements.load import OPTIONS
from aadsl.statements.scope import Scope
from aadsl.statements.shares import SHARES_OPTIONS
from aadsl.statements.verify import VERIFY_OPTIONS
from aadsl.statements.vocabulary import HOMES, options, table

VALUES_SHOWN = 40
HOLDERS = (("torch.utils.data", "Dataset"), ("xarray", "Dataset"), ("pandas", "DataFrame"), ("datasets", "Dataset"))
OPTIONS_OF: dict[str, Mapping[str, Any]] = {
    "load": OPTIONS,
    "verify": VERIFY_OPTIONS,
    "check": CHECK_OPTIONS,
    "shares": SHARES_OPTIONS,
    "examples": EXAMPLES_OPTIONS,
}
TABLE_OF_FIELD = {"metric": "behavior", "using": "estimator", "under": "intervention", "chart": "chart"}


@dataclass(frozen=True)
class Completion:
    """One proposal: the text that replaces what is half typed, and what kind of thing it is."""

    text: str
    kind: str


def of_kind(kind: str, texts: Iterable[str]) -> list[Completion]:
    """Return proposals of one kind."""
    return [Completion(text, kind) for text in texts]


def proposals(place: Cursor, scope: Scope) -> list[Completion]:
    """Return the names and values that fit, by the innermost bracket, else by the clause."""
    if place.brackets and (found := _inside(place, place.brackets[-1], scope)) is not None:
        return found
    return [found for field in fields_at(place) if field in PROPOSERS for found in PROPOSERS[field](place, scope)]


def _inside(place: Cursor, bracket: Bracket, scope: Scope) -> list[Completion] | None:
    """Return what fits inside a call, a list or a family's brackets; None inside plain parentheses."""
    if bracket.symbol == "(":
        if bracket.word in PREDICATES:
            return _condition(place, _batch_coordinates(scope), scope, predicates=())
        member = _member(place, bracket)
        return None if member is None else _options(place, member, scope)
    if bracket.word == "in":
        name = [word for word in bracket.before if word not in ("not", "in")][-1]
        return _values(name, _coordinates(place, scope))
    families = scope.families | scope.behavior_families
    inner = (full[len(bracket.word) + 1 : -1] for full in families.get(bracket.word, ()))
    return of_kind("member", inner)


def _member(place: Cursor, bracket: Bracket) -> type[Any] | None:
    """Return the member of a table that is called at ``bracket``, also as an option's value."""
    before = bracket.before
    as_value = len(before) > 2 and before[-2] == "=" and before[-3] in HOMES
    kinds = (
        [before[-3]] if as_value else [TABLE_OF_FIELD[field] for field in fields_at(place) if field in TABLE_OF_FIELD]
    )
    return table(kinds[0]).get(bracket.word) if kinds else None


def _options(place: Cursor, member: type[Any], scope: Scope) -> list[Completion]:
    """Return the options of a call that are not given yet, or the values of the one being written."""
    if place.lexemes[-1] != "=":
        given = set(place.lexemes[len(place.brackets[-1].before) :])
        return of_kind("option", (f"{field.name}=" for field in options(member) if field.name not in given))
    name = place.lexemes[-2]
    expected = kinds_of(member).get(name, Any)
    if name in HOMES:
        return of_kind(name, table(name))
    alternatives = [choice for part in (expected, *typing.get_args(expected)) for choice in typing.get_args(part)]
    texts = [f'"{choice}"' for choice in (*alternatives, *typing.get_args(expected)) if isinstance(choice, str)]
    if bool in (expected, *typing.get_args(expected)):
        texts += ["true", "false"]
    return of_kind("value", texts)


def _condition(
    place: Cursor, coordinates: Coordinates | None, scope: Scope, predicates: Iterable[str]
) -> list[Completion]:
    """Return coordinates, or the values of the coordinate that is compared with."""
    last = place.lexemes[-1]
    if last in COMPARISONS:
        numbers = (name for name, v in scope.names.items() if isinstance(v, int | float | str) and name[:1] != "_")
        return _values(place.lexemes[-2], coordinates) + of_kind("python", numbers)
    if last == "in":
        return of_kind("python", (name for name, v in scope.names.items() if isinstance(v, list | tuple | set)))
    if last == "matches":
        return []
    known = () if coordinates is None else coordinates.names
    return of_kind("coordinate", known) + of_kind("predicate", (f"{name}(" for name in predicates))


def _values(name: str, coordinates: Coordinates | None) -> list[Completion]:
    if coordinates is None or name.strip("`") not in coordinates.names:
        return []
    return of_kind("value", coordinates.column(name.strip("`")).distinct(VALUES_SHOWN))


def _coordinates(place: Cursor, scope: Scope) -> Coordinates | None:
    """Return the coordinates that a condition at this place is about."""
    if any(bracket.word in PREDICATES for bracket in place.brackets):
        return _batch_coordinates(scope)
    if place.lexemes[0] != "behavior":
        return scope.steps if scope.study is not None else None
    try:
        return scope.coordinates_of(scope.names.get(place.argument_of("on")))
    except AadslError:
        return None


def _batch_coordinates(scope: Scope) -> Coordinates | None:
    return scope.batches().coordinates if scope.study is not None else None


def _where(place: Cursor, scope: Scope) -> list[Completion]:
    predicates = PREDICATES if place.lexemes[0] != "behavior" else ()
    return _condition(place, _coordinates(place, scope), scope, predicates)


def _stages(_place: Cursor, scope: Scope) -> list[Completion]:
    single = (name for name in scope.stages if "[" not in name)
    return of_kind("stage", single) + of_kind("family", scope.families)


def _behaviors(_place: Cursor, scope: Scope) -> list[Completion]:
    single = (name for name in scope.behaviors if "[" not in name)
    return of_kind("behavior", single) + of_kind("family", scope.behavior_families)


def _by(place: Cursor, scope: Scope) -> list[Completion]:
    known = _coordinates(place, scope)
    if place.lexemes[0] == "plot":
        chart = table("chart").get(place.lexemes[1])
        families = of_kind("family", scope.families)
        if chart is not None and not chart.by_coordinate:
            return families
        return families + of_kind(
            "coordinate", () if known is None else (name for name in known.names if name != "step")
        )
    return of_kind("coordinate", () if known is None else known.names)


def _metric(_place: Cursor, scope: Scope) -> list[Completion]:
    return of_kind("metric", table("behavior")) + _python(scope.names, lambda value: isinstance(value, FunctionType))


def _load(_place: Cursor, scope: Scope) -> list[Completion]:
    from aadsl.study import Study
    from aadsl.trajectory import Trajectory

    return _python(scope.names, lambda value: isinstance(value, Study | Trajectory))


def _with(place: Cursor, scope: Scope) -> list[Completion]:
    known = OPTIONS_OF[word_of(place.lexemes)]
    if place.lexemes[-1] != "=":
        return of_kind("option", (f"{name}=" for name in known if name not in place.lexemes))
    if known.get(place.lexemes[-2]) is bool:
        return of_kind("value", ("true", "false"))
    fits = {"model": _is_model, "loss": lambda value: isinstance(value, FunctionType), "data": _holds_examples}
    return _python(scope.names, fits.get(place.lexemes[-2], lambda _: False))


def _python(names: Mapping[str, Any], fits: Callable[[Any], bool]) -> list[Completion]:
    return of_kind("python", (name for name, value in names.items() if not name.startswith("_") and fits(value)))


def _is_model(value: Any) -> bool:
    torch = sys.modules.get("torch")  # what is not imported yet has no instances
    return torch is not None and isinstance(value, torch.nn.Module)


def _holds_examples(value: Any) -> bool:
    """Return whether examples may be read from a value. Looks at its type only, never at its attributes."""
    if _is_model(value) or isinstance(value, str | bytes | dict | type):
        return False
    if isinstance(value, tuple | list):
        torch = sys.modules.get("torch")
        return bool(value) and torch is not None and isinstance(value[0], torch.Tensor)
    homes = ((sys.modules.get(module), name) for module, name in HOLDERS)  # what is not imported has no instances
    return isinstance(value, tuple(getattr(home, name) for home, name in homes if hasattr(home, name)))


PROPOSERS: dict[str, Callable[[Cursor, Scope], list[Completion]]] = {
    "sources": _load,
    "arguments": _with,
    "selection": _stages,
    "within": _stages,
    "stages": _stages,
    "subject": _stages,
    "behaviors": _behaviors,
    "of": lambda place, scope: _behaviors(place, scope) + _stages(place, scope),
    "on": lambda _place, scope: _python(scope.names, _holds_examples),
    "where": _where,
    "by": _by,
    "coordinate": _by,
    "metric": _metric,
    **{
        field: lambda _place, _scope, kind=kind: of_kind(kind, table(kind))  # type: ignore[misc]
        for field, kind in TABLE_OF_FIELD.items()
        if field != "metric"
    },
}
"""What names fit in each field of a statement. A new statement that has these fields needs no line here."""
