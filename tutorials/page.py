"""Writes one HTML page with text, tables and interactive charts that needs no other file and no internet."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from aadsl.charts.export import interactive, page, svg
from aadsl.core.texts import visible

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff; margin: 2.5rem auto; max-width: 52rem;
  padding: 0 1.2rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
pre { background: #f6f6f4; border-left: 3px solid #0072b2; padding: .8rem 1rem; overflow-x: auto; font-size: .84rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .28rem .9rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.chart { overflow-x: auto; margin: .8rem 0; } .note { color: #555; font-size: .88rem; }
"""


@dataclass
class Page:
    """An HTML page, written from top to bottom.

    ``text`` in these methods is plain text; characters that mean something in HTML are escaped, and what no font shows
    is replaced by a picture of it.
    """

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{_text(text)}</h2>")

    def paragraph(self, text: str, kind: str = "") -> None:
        self.parts.append(f'<p class="{kind}">{_text(text)}</p>')

    def code(self, text: str) -> None:
        self.parts.append(f"<pre>{_text(text)}</pre>")

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self.parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def chart(self, chart: Any) -> None:
        """Add an Altair chart; readers without scripts see its picture."""
        self.parts.append(interactive(chart, svg(chart)))

    def write(self, path: Path) -> None:
        """Write the page, with the code that draws its charts."""
        body = "\n".join([f"<h1>{_text(self.title)}</h1>", *self.parts])
        path.write_text(page(visible(self.title), body, STYLE), encoding="utf-8")


def _text(text: str) -> str:
    return escape(visible(text))
