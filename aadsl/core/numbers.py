"""Numbers as texts and tables show them: the minus is as long as the plus."""

from __future__ import annotations

from math import inf
from typing import Any

MINUS = "\N{MINUS SIGN}"


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign.

    >>> signed(-0.12345), signed(2.0)
    ('−0.123', '+2')
    """
    return f"{value:+.{digits}g}".replace("-", MINUS)


def plain(value: float, digits: int = 4) -> str:
    """Return a number without a plus.

    >>> plain(-1e-7), plain(2.0)
    ('−1e−07', '2')
    """
    return f"{value:.{digits}g}".replace("-", MINUS)


def limits_of(one: Any) -> dict[str, float]:
    """Return the limits of the behavior that an answer (a Dataset) is about, for :func:`beyond`."""
    return {name: float(one[name]) for name in ("least", "most") if name in one}


def beyond(value: float, least: float = -inf, most: float = inf) -> str:
    """Return the limit that a number, an estimate say, lies beyond; nothing where it does not.

    >>> beyond(0.12, most=0.0), beyond(-0.1, 0.0, 1.0), beyond(0.5, 0.0, 1.0)
    ('at most 0', 'at least 0', '')
    """
    if value > most:
        return f"at most {plain(most)}"
    return f"at least {plain(least)}" if value < least else ""
