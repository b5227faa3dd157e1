"""``jupyter nbconvert --to aascore``: a page with the colors of ``%%aascore`` cells and charts to point at and brush.

nbconvert's own page shows the pictures of charts, and has no alternative text of them unless its template is
``classic``, whatever the notebook says.
"""

from __future__ import annotations

import html
from typing import Any

from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from traitlets.config import Config

PICTURE = "image/png"


class DrawnCharts(Preprocessor):
    """Makes of each chart HTML, which pages prefer: its specification for scripts, its picture and words without."""

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        """Return the cell with its charts, which are the described pictures, as HTML."""
        # Not before a page is made: JupyterLab imports every exporter to list them.
        from aadsl.charts.bundle import MIME
        from aadsl.charts.export import drawn

        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get(PICTURE, {}).get("alt", "")
            if alt and PICTURE in output["data"]:
                data = output["data"]
                source = html.escape("".join(data[PICTURE].split()))
                picture = f'<img alt="{html.escape(alt)}" src="data:{PICTURE};base64,{source}">'
                data["text/html"] = drawn(data[MIME], picture) if MIME in data else picture
                resources["draws_charts"] = resources.get("draws_charts") or MIME in data
        return cell, resources


class AascoreExporter(HTMLExporter):
    """HTML, with colors of ``%%aascore`` cells and charts that need no internet to be pointed at and brushed."""

    export_from_notebook = "HTML, charts to point at and brush"

    def from_notebook_node(  # type: ignore[override]  # as nbconvert's own exporters of text do
        self, nb: Any, resources: Any = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Return the page of a notebook and its resources; where it has charts, with the code that draws them."""
        page, resources = super().from_notebook_node(nb, resources, **kw)
        if resources.get("draws_charts"):
            from aadsl.charts.export import scripts

            body, end, rest = page.rpartition("</body>") if "</body>" in page else (page, "", "")
            page = "".join([body, *(f"<script>{script}</script>" for script in scripts()), end, rest])
        return page, resources

    @property
    def default_config(self) -> Config:
        """What is not nbconvert's own."""
        own = Config()
        own.HTMLExporter.preprocessors = [DrawnCharts]
        own.HighlightMagicsPreprocessor.enabled = True
        own.HighlightMagicsPreprocessor.languages = {"%%aascore": "aascore"}
        inherited = super().default_config.copy()
        inherited.merge(own)
        return inherited
