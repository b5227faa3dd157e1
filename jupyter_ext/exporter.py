"""``jupyter nbconvert --to aascore``: a page with the colors of ``%%aascore`` cells, whose charts are told in words.

nbconvert's own page has no alternative text of pictures unless its template is ``classic``, whatever the notebook says.
"""

from __future__ import annotations

import html
from typing import Any

from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from traitlets.config import Config

PICTURE = "image/png"


class DescribedPictures(Preprocessor):
    """Gives each picture the alternative text that the notebook keeps beside it."""

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        """Return the cell with its described pictures as HTML, which pages prefer."""
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get(PICTURE, {}).get("alt", "")
            if alt and PICTURE in output["data"]:
                source = "".join(output["data"][PICTURE].split())
                picture = f'<img alt="{html.escape(alt)}" src="data:{PICTURE};base64,{html.escape(source)}">'
                output["data"]["text/html"] = picture
        return cell, resources


class AascoreExporter(HTMLExporter):
    """HTML, with colors of ``%%aascore`` cells and charts told in words."""

    export_from_notebook = "HTML, charts told in words"

    @property
    def default_config(self) -> Config:
        """What is not nbconvert's own."""
        own = Config()
        own.HTMLExporter.preprocessors = [DescribedPictures]
        own.HighlightMagicsPreprocessor.enabled = True
        own.HighlightMagicsPreprocessor.languages = {"%%aascore": "aascore"}
        inherited = super().default_config.copy()
        inherited.merge(own)
        return inherited
