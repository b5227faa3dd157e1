"""Single values: how they are written, in programs and in the names of families' members, and which are special."""

from __future__ import annotations

from typing import Any

import numpy as np

IGNORED = -100
"""The label of an example, or of a token, that has none, as in PyTorch."""

EXACT_AS_FLOAT = 1 << 53
"""Whole numbers up to here are exact as floats."""


def written(value: Any) -> str:
    """Return a scalar as the language writes it: ``true``, ``3``, ``0.5``, ``"text"``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f'"{value}"' if isinstance(value, str) else str(value)


def member_name(value: Any) -> str:
    """Return the member of a family that has this value: text as it is, anything else as the language writes it.

    >>> member_name(np.float64(4.0)), member_name("badnet"), member_name(True)
    ('4', 'badnet', 'true')
    """
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    return value if isinstance(value, str) else written(value)
