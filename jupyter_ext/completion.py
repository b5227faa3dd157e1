"""Completion inside ``%%aascore`` cells; the language itself says what may follow."""

from __future__ import annotations

from typing import Any


def register(shell: Any) -> None:
    """Add the completion to ``shell``."""


def unregister(shell: Any) -> None:
    """Take the completion away."""
