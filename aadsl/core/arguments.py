"""What an argument has to be: the annotation of its parameter says so, and it is checked where it enters."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from aadsl.core.errors import AadslError, Problem, unknown_name

F = TypeVar("F", bound=Callable[..., Any])

_SCALARS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool, np.bool_), "true or false"),
    int: ((int, np.integer), "a whole number"),
    float: ((int, float, np.integer, np.floating), "a number"),
    str: ((str,), "text in quotes"),
}
_LONGEST = 60  # characters of a value that a message shows


def checked(entry: F) -> F:
    """Let a function refuse arguments that are not what its parameters are annotated with.

    It is told which argument is meant, what was given, and from the docstring what it should be. What is annotated with
    ``Any``, or with an array, the function has to judge itself; it costs nothing where that is all. Of a dataclass the
    options are checked when one is made, of another class the arguments of every public method.

    >>> @checked
    ... def skipped(top: int = 10) -> int:
    ...     return top
    >>> skipped("ten")
    Traceback (most recent call last):
    aadsl.core.errors.AadslError: skipped: top must be a whole number, not the text 'ten'
    """
    if isinstance(entry, type):
        public = [name for name, own in vars(entry).items() if inspect.isfunction(own) and not name.startswith("_")]
        for name in ["__init__", *(() if is_dataclass(entry) else public)]:
            setattr(entry, name, checked(getattr(entry, name)))
        return entry
    parameters = inspect.signature(entry).parameters
    if all(p.annotation in ("Any", Any, p.empty) for p in parameters.values()):
        return entry
    names = tuple(parameters)
    read: list[list[tuple[int, Any]]] = []

    @wraps(entry)
    def strict(*arguments: Any, **options: Any) -> Any:
        # Replays ask for each step through public methods: what is of the very kind needs no further look.
        if read and not options:
            given = len(arguments)
            for place, kind in read[0]:
                if place < given and type(arguments[place]) is not kind:
                    break
            else:
                return entry(*arguments)
        kinds = kinds_of(entry)
        if not read:
            read.append([(place, kinds[name]) for place, name in enumerate(names) if name in kinds])
        wrong = _unfit(zip(names, arguments, strict=False), kinds)
        if options:
            wrong += _unfit(options.items(), kinds)
        if wrong:
            owner = arguments[0] if names[0] == "self" else None
            raise AadslError(*(_problem(entry, owner, name, value, kinds[name]) for name, value in wrong))
        return entry(*arguments, **options)

    return typing.cast(F, strict)


def _unfit(given: Iterable[tuple[str, Any]], kinds: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in given if name in kinds and not fits(value, kinds[name])]


_KINDS: dict[Any, dict[str, Any]] = {}


def kinds_of(entry: Any) -> dict[str, Any]:
    """Return what the parameters of a function, or the fields of a class, are annotated with, read once.

    Nothing where that cannot be read; left out is what may be anything.
    """
    if entry not in _KINDS:
        try:
            found = typing.get_type_hints(entry)
        except (NameError, TypeError):
            found = {}
        _KINDS[entry] = {name: kind for name, kind in found.items() if kind is not Any and name != "return"}
    return _KINDS[entry]


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value is what an annotation says; True where that cannot be told."""
    origin = typing.get_origin(kind)
    if kind in _SCALARS:
        return isinstance(value, _SCALARS[kind][0]) and (kind is bool or not isinstance(value, bool))
    if kind is Any:
        return True
    if kind is None or kind is types.NoneType:
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in typing.get_args(kind))
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in typing.get_args(kind))
    if (
        origin is not None
        and issubclass(origin, Iterable)
        and typing.get_args(kind)
        and typing.get_args(kind)[0] is str
    ):
        return _fits_names(value, origin)
    expected = kind if origin is None else origin
    if not isinstance(expected, type) or expected is np.ndarray:
        return True
    if not getattr(expected, "_is_protocol", False):
        return isinstance(value, expected)
    # A class has the attributes that its instances have.
    known = getattr(expected, "_is_runtime_protocol", False)
    return not known or (not isinstance(value, type) and isinstance(value, expected))


def _fits_names(value: Any, origin: type) -> bool:
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    single = isinstance(value, (str, bytes)) or not isinstance(value, Iterable)
    return not single and not (isinstance(value, (list, tuple)) and not all(isinstance(one, str) for one in value))


def in_words(kind: Any) -> str:
    """Return what an annotation says in words.

    >>> in_words(int | None), in_words(typing.Literal["raise", "warn"])
    ('a whole number', 'one of "raise", "warn"')
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        parts = [in_words(option) for option in typing.get_args(kind) if option is not types.NoneType]
        return " or ".join(dict.fromkeys(parts))
    if origin is typing.Literal:
        return "one of " + ", ".join(_choice(choice) for choice in typing.get_args(kind))
    if kind in _SCALARS:
        return _SCALARS[kind][1]
    if typing.get_args(kind)[:1] == (str,) and not issubclass(origin or object, Mapping):
        return "names"
    if origin is not None and "Callable" in str(origin):
        return "a function"
    name = str(getattr(origin or kind, "__name__", kind))
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def _words(kind: Any) -> list[str]:
    """Return the words of which an annotation allows one."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return [word for word in options if isinstance(word, str)]
    return [word for option in options for word in _words(option)] if str not in options else []


def _choice(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: Any) -> str:
    """Return what was given, in words.

    >>> shown("runs/a"), shown(1.5), shown(int), shown([3]), shown(None)
    ("the text 'runs/a'", '1.5', 'the class int', 'a list', 'None')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return str(value)
    if isinstance(value, str):
        return f"the text {value if len(value) <= _LONGEST else value[:_LONGEST] + '…'!r}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _problem(entry: Any, owner: Any, name: str, value: Any, kind: Any) -> Problem:
    making = entry.__name__ == "__init__"
    where = type(owner).__name__ if making else entry.__name__
    if isinstance(value, str) and (words := _words(kind)):
        return unknown_name(name, value, words)
    said = f"{where}: {name} must be {in_words(kind)}, not {shown(value)}"
    if isinstance(value, type):
        return Problem(said, f"give an instance, not the class itself: {name}={value.__name__}(…)")
    text = _explained(type(owner) if making else entry, name)
    return Problem(said, f"{name}: {text}" if text else "")


def _explained(documented: Any, name: str) -> str:
    """Return what a docstring says of an argument, on one line; nothing where it says nothing."""
    lines = inspect.getdoc(documented) or ""
    found = re.search(rf"^    {name}: (.*(?:\n {{8,}}.*|\n    (?!\w+: |\w+, )\S.*)*)", lines, re.MULTILINE)
    return " ".join(found[1].replace("``", "").split()) if found else ""
