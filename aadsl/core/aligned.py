"""Rows of texts as lines whose columns stand below each other: how what is held is listed."""

from __future__ import annotations

from collections.abc import Sequence

from aadsl.core.texts import LINE, in_line

WIDEST = 40
"""Letters of a column; what is longer stands out of it."""


def aligned(rows: Sequence[Sequence[str]], most: int | None = None) -> list[str]:
    """Return rows of texts as lines, columns below each other; of more than ``most`` it says how many follow.

    The first text of a row is a name.

    >>> aligned([("a", "1"), ("bcd", "2")])
    ['  a    1', '  bcd  2']
    >>> aligned([("a", "1"), ("bcd", "2"), ("e", "3")], 1)
    ['  a  1', '  … 2 more']
    """
    shown = [(in_line(name), *(in_line(text, LINE) for text in rest)) for name, *rest in rows[:most]]
    widths = [min(max(map(len, column)), WIDEST) for column in zip(*shown, strict=True)]
    lines = ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]
    return [*lines, f"  … {len(rows) - len(shown):,} more"] if len(shown) < len(rows) else lines


def listing(title: str, rows: Sequence[Sequence[str]], most: int | None = None) -> str:
    """Return a line and rows of texts below it, as :func:`aligned` has them."""
    return "\n".join([in_line(title), *aligned(rows, most)])
