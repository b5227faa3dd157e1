"""From a call in a program to an object: names are looked up in the tables, options in dataclass fields."""

from __future__ import annotations

import typing
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aadsl.core.arguments import fits, in_words, kinds_of
from aadsl.core.errors import AadslError, did_you_mean, unknown_name
from aadsl.core.members import call_values
from aadsl.language import Argument, Call, Items, Literal, Name, Positional

if TYPE_CHECKING:
    from aadsl.statements.scope import Scope

HOMES = {
    "behavior": ("aadsl.behaviors", "BEHAVIORS"),
    "intervention": ("aadsl.interventions", "INTERVENTIONS"),
    "estimator": ("aadsl.estimators", "ESTIMATORS"),
    "curvature": ("aadsl.propagation", "CURVATURES"),
    "chart": ("aadsl.charts", "CHARTS"),
}
"""Where each table lives. A field with one of these names takes a member of that table."""


def table(kind: str) -> Mapping[str, type[Any]]:
    """Return a table of the vocabulary, imported on first use: charts and torch are slow to import."""
    module, name = HOMES[kind]
    return typing.cast("Mapping[str, type[Any]]", getattr(import_module(module), name))


def options(member: type[Any]) -> tuple[Field[Any], ...]:
    """Return the options of a member of a table."""
    return tuple(field for field in fields(member) if field.init)


def required(field: Field[Any]) -> bool:
    """Return whether an option has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def signature(name: str, member: type[Any]) -> str:
    """Return how to call a member: ``linearized(read="linear")``.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Radius:
    ...     size: float
    ...     scaled: bool = True
    >>> signature("radius", Radius)
    'radius(size, scaled=true)'
    """
    shown = []
    for field in options(member):
        if required(field):
            shown.append(field.name)
        elif field.default is None:
            shown.append(f"[{field.name}]")
        else:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            shown.append(f"{field.name}={_written(default)}")
    return f"{name}({', '.join(shown)})"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    for kind in ("curvature",):
        for name, member in table(kind).items():
            if type(value) is member:
                return name
    return str(value)


def build(scope: Scope, call: Call, kind: str) -> Any | None:
    """Return the member of a table that ``call`` describes; report every mistake in it."""
    members = table(kind)
    name = call.name.text
    if name not in members:
        problem = unknown_name(kind, name, members)
        others = [other for other in HOMES if other != kind and name in table(other)]
        hint = f'"{name}" is one of `help {others[0]}s`; ' if others else ""
        scope.report(call.name.span, problem.message, hint + problem.hint)
        return None
    member, mistakes = members[name], len(scope.problems)
    given = _arguments(scope, call, member)
    missing = [field.name for field in options(member) if required(field) and field.name not in given]
    if missing and len(scope.problems) == mistakes:
        scope.report(call.span, f"{name} needs {' and '.join(missing)}", f"write {signature(name, member)}")
    if len(scope.problems) > mistakes:
        return None
    try:
        made = member(**given)
        if names := _names_of(call):
            call_values(made, names)
        return made
    except AadslError as error:
        scope.repeat(call.span, error)
    except (TypeError, ValueError) as error:
        scope.report(call.span, f"{name} cannot be made from these options: {error}", signature(name, member))
    return None


def _names_of(call: Call) -> dict[str, str]:
    """Return the Python names that a call gives as options."""
    given = [(one.name.text, one.value) for one in call.arguments or () if isinstance(one, Argument)]
    return {option: value.name.text for option, value in given if isinstance(value, Call) and option not in HOMES}


def _arguments(scope: Scope, call: Call, member: type[Any]) -> dict[str, Any]:
    """Return the values of the options that ``call`` gives; report unknown, repeated and unfitting ones."""
    known = {field.name: field for field in options(member)}
    kinds = kinds_of(member)
    given: dict[str, Any] = {}
    for argument in call.arguments or ():
        if isinstance(argument, Positional):
            names = [name for name in known if name not in given]
            way_out = f"write {call.name.text}({names[0]}=…)" if names else f"{call.name.text} has no options"
            scope.report(argument.span, "options are given by name", way_out)
            continue
        option = argument.name.text
        if option not in known:
            listing = f"write {signature(call.name.text, member)}" if known else f"{call.name.text} has no options"
            hint = " ".join(filter(None, [did_you_mean(option, known), listing]))
            scope.report(argument.name.span, f'{call.name.text} has no option "{option}"', hint)
            continue
        if option in given:
            scope.report(argument.name.span, f'"{option}" is given twice')
            continue
        given[option] = value_of(scope, argument, kinds.get(option, Any))
    return given


def given_options(
    scope: Scope, what: str, arguments: Iterable[Argument | Positional], known: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the values of a statement's options, whose types are ``known``; report mistakes, None after one."""
    given: dict[str, Any] = {}
    mistakes = len(scope.problems)
    for argument in arguments:
        if isinstance(argument, Positional):
            usual = ", ".join(f"{name}=…" for name in list(known)[:3])
            scope.report(argument.span, "options are given by name", f"write {usual}")
        elif argument.name.text not in known:
            hint = did_you_mean(argument.name.text, known) or f"options: {', '.join(known)}"
            scope.report(argument.name.span, f'{what} has no option "{argument.name.text}"', hint)
        elif argument.name.text in given:
            scope.report(argument.name.span, f'"{argument.name.text}" is given twice')
        else:
            option, expected = argument.name.text, known[argument.name.text]
            so_far = len(scope.problems)
            given[option] = value_of(scope, argument, expected)
            if len(scope.problems) == so_far and not fits(given[option], expected):
                scope.report(argument.value.span, f"{option} must be {in_words(expected)}")
    return given if len(scope.problems) == mistakes else None


def value_of(scope: Scope, argument: Argument, expected: Any) -> Any:
    """Return the value of an option: a literal, a list, a member of a table or something in the notebook."""
    value = argument.value
    if isinstance(value, Items):
        return value.values
    if isinstance(value, Literal):
        if not fits(value.value, expected):
            option = argument.name.text
            kinds = f"one of {', '.join(table(option))}" if option in HOMES else in_words(expected)
            scope.report(value.span, f"{option} must be {kinds}", _way_out(option, value.value, expected))
        return value.value
    if argument.name.text in HOMES:
        return build(scope, value, argument.name.text)
    return notebook_value(scope, value)


def notebook_value(scope: Scope, call: Call) -> Any:
    """Return what lives in the notebook under a name; report what does not, and calls."""
    if call.arguments is not None:
        scope.report(call.span, "Python is not called here", "call it in a cell above and give the name of the result")
        return None
    return notebook_name(scope, call.name)


def notebook_name(scope: Scope, name: Name) -> Any:
    """Return what lives in the notebook under a name; report what does not."""
    text = name.text if name.text in scope.names else unicodedata.normalize("NFKC", name.text)  # as Python names are
    if text in scope.names:
        return scope.names[text]
    close = did_you_mean(name.text, (known for known in scope.names if not known.startswith("_")))
    way_out = close or "define it in a cell above; outside notebooks, in the file given with --names"
    scope.report(name.span, f'no Python name "{name.text}"', way_out)
    return None


def _way_out(option: str, value: Any, expected: Any) -> str:
    if not isinstance(value, str):
        return ""
    if option in HOMES:
        return f"write it without quotes: {option}={value}" if value in table(option) else ""
    choices = [choice for choice in typing.get_args(expected) if isinstance(choice, str)]
    return did_you_mean(value, choices)
