"""Members of the tables of vocabulary, by name and back to how one writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from aadsl.core.errors import AadslError, unknown_name


def member_of(kind: str, table: Mapping[str, type[Any]], name: str, options: Mapping[str, Any]) -> Any:
    """Return ``table[name](**options)``.

    Raises:
        AadslError: the name or an option is unknown, or an option that has no default is missing.
    """
    if name not in table:
        raise AadslError(unknown_name(kind, name, table))
    known = {field.name: field for field in fields(table[name]) if field.init}
    unknown = [unknown_name(f"option of {name}", option, known) for option in options if option not in known]
    if unknown:
        raise AadslError(*unknown)
    missing = [
        n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in options
    ]
    if missing:
        raise AadslError(f"{kind} {name} needs {' and '.join(missing)}", hint=f"{name}({', '.join(known)})")
    return table[name](**options)


def describe(member: Any) -> str:
    """Return a member of a table as the language writes it.

    >>> from aadsl.interventions import INTERVENTIONS
    >>> describe(INTERVENTIONS["scale_lr"](0.5))
    'scale_lr(factor=0.5)'
    """
    values = {field.name: getattr(member, field.name) for field in fields(member)}
    called = getattr(member, _CALLED, {})
    arguments = [f"{name}={_shown(value, called.get(name, ''))}" for name, value in values.items() if value is not None]
    return f"{_snake(type(member).__name__)}({', '.join(arguments)})"


def call_values(member: Any, names: Mapping[str, str]) -> None:
    """Say what the values of options are called, data say, which cannot be written: :func:`describe` writes that."""
    if hasattr(member, "__dict__"):  # else it has slots, and is written without names
        object.__setattr__(member, _CALLED, dict(names))


_CALLED = "_called"


def _shown(value: Any, name: str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if is_dataclass(value) and not isinstance(value, type):
        return describe(value)
    return repr(value) if isinstance(value, (bool, int, float)) else name or f"<{type(value).__name__}>"


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))
