"""Names alone and in families: ``source`` may mean one stage, or all that are called ``source[…]``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TypeVar

from aadsl.core.arguments import shown
from aadsl.core.errors import AadslError

T = TypeVar("T")
AXES = ("steps", "batches")
"""What all steps are called; no family can have this name in the language."""


def composed(name: str) -> str:
    """Return a name with its accents composed: "ü" is one character, however it was typed."""
    return unicodedata.normalize("NFC", name)


def named(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple: several, or one alone.

    >>> named("night"), named(["day", "night"])
    (('night',), ('day', 'night'))

    Raises:
        AadslError: one of them is no text.
    """
    names = (given,) if isinstance(given, str) else tuple(one.item() if hasattr(one, "item") else one for one in given)
    for name in names:
        if not isinstance(name, str):
            raise AadslError(f"{shown(name)} is no name", hint="stages and behaviors go by the names they were given")
    return tuple(map(composed, names))


def family_of(name: str) -> str:
    """Return the family that a name is a member of, nothing where it is none; a slice of steps is none.

    >>> family_of("source[badnet]"), family_of("night"), family_of("steps[0:9]")
    ('source', '', '')
    """
    family, bracket, _ = name.partition("[")
    return family if bracket and name.endswith("]") and family not in AXES else ""


def define(
    known: MutableMapping[str, T], families: MutableMapping[str, tuple[str, ...]], name: str, new: Mapping[str, T]
) -> None:
    """Give ``name`` a meaning in place of what it meant before, a family with all its members.

    Args:
        known: full name → meaning; changed.
        families: name → full names of its members; changed.
        name: what is defined.
        new: its meaning under ``name`` itself, or the meanings of a family's members under ``name[member]``.
    """
    name, new = composed(name), {composed(full): meaning for full, meaning in new.items()}
    for old in [old for old in known if old == name or old.startswith(f"{name}[")]:
        del known[old]
    families.pop(name, None)
    known.update(new)
    if name not in new:
        families[name] = tuple(new)
