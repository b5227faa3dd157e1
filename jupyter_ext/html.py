"""Small pieces of HTML that are safe (escaped) and readable in light and dark themes (they set no ink)."""

from __future__ import annotations

import html
from typing import Any

from aadsl.core.numbers import signed
from aadsl.core.texts import in_line, visible

NUMBER = "text-align: right; font-variant-numeric: tabular-nums"
PAPER = "background: var(--jp-layout-color0, var(--vscode-editor-background, Canvas))"
"""What cells lie on that others scroll under: the theme's own, so that its ink is read on it."""

_TEXT = (
    "margin: 0; font-family: var(--jp-code-font-family, monospace); "
    "white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere"  # lines end between words
)
SORTED = "aadsl-table"
"""The class of tables that the JupyterLab extension sorts and filters; elsewhere it says nothing."""


def escaped(text: str) -> str:
    """Return a text, visible, as it may stand anywhere in HTML."""
    return html.escape(visible(text))


def preformatted(text: str) -> str:
    """Return text as it is, in the notebook's own font for output."""
    return f'<pre style="{_TEXT}">{escaped(text)}</pre>'


def table(header: list[str], body: list[list[Any]], caption: str = "") -> str:
    """Return a table; numbers are aligned to the right."""
    head = "".join(f'<th style="text-align: left">{escaped(name)}</th>' for name in header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body)
    title = f'<caption style="text-align: left; caption-side: top">{escaped(caption)}</caption>' if caption else ""
    return f'<table class="{SORTED}">{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        shown = "" if value != value else signed(value, 4)
        return f'<td style="{NUMBER}">{shown}</td>'
    return f'<td style="text-align: left">{escaped(in_line(str(value)))}</td>'
