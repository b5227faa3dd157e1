"""Small pieces of HTML that are safe (escaped) and readable in light and dark themes (they set no ink)."""

from __future__ import annotations

import html
from typing import Any

_NUMBER = "text-align: right; font-variant-numeric: tabular-nums"


def preformatted(text: str) -> str:
    """Return text as it is, in the notebook's own font for output."""
    return f'<pre style="margin: 0; font-family: var(--jp-code-font-family, monospace)">{html.escape(text)}</pre>'


def table(header: list[str], body: list[list[Any]], caption: str = "") -> str:
    """Return a table; numbers are aligned to the right."""
    head = "".join(f'<th style="text-align: left">{html.escape(name)}</th>' for name in header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body)
    title = f'<caption style="text-align: left; caption-side: top">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        shown = "" if value != value else f"{value:+.4g}".replace("-", "−")
        return f'<td style="{_NUMBER}">{shown}</td>'
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


_HEADERS = {
    "stage": "stage",
    "behavior": "behavior",
    "share": "share",
    "effect": "effect",
    "retrained": "exact effect",
    "verdict": "the stage",
    "values": "without → with the stage",
    "how": "how",
    "interval": "interval",
    "spread_low": "10% of examples",
    "spread_high": "90% of examples",
    "trust": "trust",
    "reason": "why",
}
"""The columns in order, by their names in the table of an answer."""


def _answer(dataset: Any) -> tuple[list[str], list[list[Any]], str]:
    from aadsl.charts.answers import EXACT, answer_table
    from aadsl.charts.words import provenance, sentence

    frame = answer_table(dataset)
    if "observed" in dataset:  # only a model that was trained has a value
        exact = (frame["how"] == EXACT) | (frame["retrained"].notna() if "retrained" in frame else False)
        known = dataset["observed"].to_series()[frame["behavior"]]
        ends = zip(exact, known, frame["best"], strict=True)
        frame["values"] = [f"{v - effect:.4g} → {v:.4g}".replace("-", "−") if ok else "" for ok, v, effect in ends]
    if "share" in dataset:
        frame["share"] = dataset["share"].transpose("stage", "behavior").to_numpy().ravel()
    shown = [name for name in _HEADERS if name in frame and (frame[name].notna() & (frame[name] != "")).any()]
    header = [_HEADERS[name] for name in shown]
    caption = sentence("effect: the behavior with the stage minus without it", provenance(dataset))
    return header, frame[shown].values.tolist(), caption
