"""Small pieces of HTML that are safe (escaped) and readable in light and dark themes (they set no ink)."""

from __future__ import annotations

import html
from typing import Any

_NUMBER = "text-align: right; font-variant-numeric: tabular-nums"


def preformatted(text: str) -> str:
    """Return text as it is, in the notebook's own font for output."""
    return f'<pre style="margin: 0">{html.escape(text)}</pre>'


def table(header: list[str], body: list[list[Any]], caption: str = "") -> str:
    """Return a table; numbers are aligned to the right."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body)
    title = f'<caption style="text-align: left; caption-side: top">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td style="{_NUMBER}">{"" if value != value else f"{value:+.4g}"}</td>'
    return f'<td style="text-align: left">{html.escape(str(value))}</td>'


def answer_html(dataset: Any) -> str:
    """Return the table of an answer: one row for each stage and behavior."""
    header, body, caption = _answer(dataset)
    return table(header, body, caption)


def answer_text(dataset: Any) -> str:
    """Return the table of an answer as text."""
    import pandas as pd

    header, body, caption = _answer(dataset)
    frame = pd.DataFrame(body, columns=header)
    return f"{caption}\n{frame.to_string(index=False, float_format=lambda v: f'{v:+.4g}', na_rep='')}"


_HEADERS = {"retrained": "exact effect", "low": "10% of examples", "high": "90% of examples", "reason": "why"}


def _answer(dataset: Any) -> tuple[list[str], list[list[Any]], str]:
    from aadsl.charts.answers import answer_table
    from aadsl.charts.words import meaning, provenance, sentence

    frame = answer_table(dataset).drop(columns="mark")
    header = [_HEADERS.get(name, name) for name in frame.columns]
    caption = sentence(meaning(dataset, "effect above zero: the stage {good}; below: it {bad}"), provenance(dataset))
    return header, frame.values.tolist(), caption
