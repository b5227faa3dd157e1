"""Names alone and in families: ``source`` may mean one stage, or all that are called ``source[…]``."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TypeVar

T = TypeVar("T")


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
    for old in [old for old in known if old == name or old.startswith(f"{name}[")]:
        del known[old]
    families.pop(name, None)
    known.update(new)
    if name not in new:
        families[name] = tuple(new)
