"""Writes one HTML page with text, tables and interactive charts that needs no other file and no internet."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import vl_convert

from aadsl.charts import theme
from aadsl.charts.export import svg

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

# The picture that stands in a chart's place is for readers without scripts; it gives way to the interactive chart.
DRAW = """
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.querySelector("script").textContent);
  vegaEmbed(place, spec, {renderer: "svg", actions: {export: true, source: false, compiled: false, editor: false}});
}
"""


@dataclass
class Page:
    """An HTML page, written from top to bottom.

    ``text`` in these methods is plain text; characters that mean something in HTML are escaped.
    """

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str, kind: str = "") -> None:
        self.parts.append(f'<p class="{kind}">{escape(text)}</p>')

    def code(self, text: str) -> None:
        self.parts.append(f"<pre>{escape(text)}</pre>")

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self.parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def chart(self, chart: Any) -> None:
        """Add an Altair chart: as a picture, and as a specification from which the page draws it interactively."""
        spec = json.dumps(theme.styled(chart, theme.PAPER)).replace("</", "<\\/")
        data = f'<script type="application/json">{spec}</script>'
        self.parts.append(f'<div class="chart">{svg(chart)}{data}</div>')

    def write(self, path: Path) -> None:
        """Write the page, with the code that draws its charts."""
        library = vl_convert.javascript_bundle().replace("</script", "<\\/script")
        path.write_text(
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<style>{STYLE}</style></head>\n<body>\n<h1>{escape(self.title)}</h1>\n" + "\n".join(self.parts)
            + f"\n<script>{library}</script>\n<script>{DRAW}</script>\n</body></html>\n",
            encoding="utf-8",
        )  # fmt: skip
