"""Numbers as texts and tables show them: the minus is as long as the plus."""

from __future__ import annotations

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
