"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; what it raises ends the work."""


def silent(what: str, done: int, total: int) -> None:
    """Report no progress."""
