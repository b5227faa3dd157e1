"""A chart as notebooks store it: an interactive specification, a picture and a sentence, all offline."""

from __future__ import annotations

from typing import Any

from aadsl.charts import theme
from aadsl.charts.png import smaller

MIME = "application/vnd.vegalite.v5+json"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
PICTURE = 90_000
"""Bytes that the picture of a chart may take in a notebook, which keeps it beside the chart."""
_EMBED = {"renderer": "svg", "actions": False}


def mimebundle(chart: Any) -> dict[str, Any]:
    """Return ``chart`` as Vega-Lite 5, PNG and plain text.

    JupyterLab draws the first without the internet and in its own theme; other viewers take the picture. There is
    no ``text/html``: ``nbconvert`` would prefer it to the picture.
    """
    spec = theme.specification(chart)  # once: the functions below take it as well
    return {MIME: lab_spec(spec), "image/png": small_png(spec), "text/plain": summary(spec)}


def lab_spec(chart: Any) -> dict[str, Any]:
    """Return the specification that JupyterLab's own renderer draws: version 5, SVG, the inks of Lab."""
    # Written as SVG, because CSS variables mean nothing to a canvas.
    return {**theme.styled(chart, theme.LAB), "$schema": SCHEMA, "usermeta": {"embedOptions": _EMBED}}


def png(chart: Any, scale: float = 1.5) -> bytes:
    """Return the picture of ``chart``, dark on white."""
    import vl_convert

    return smaller(vl_convert.vegalite_to_png(theme.styled(chart, theme.PAPER), scale=scale))


def small_png(chart: Any, scale: float = 1.5) -> bytes:
    """Return the picture of ``chart`` at this scale, or at a smaller one if it takes over ``PICTURE`` bytes."""
    spec = theme.specification(chart)
    picture = png(spec, scale)
    while len(picture) > PICTURE:
        scale *= min(0.9, (PICTURE / len(picture)) ** 0.8)  # bytes grow less than the area
        picture = png(spec, scale)
    return picture


def summary(chart: Any) -> str:
    """Return the chart in words: its title, what is said under it, its extremes. Pages take it for the picture's."""
    return f"[chart] {theme.specification(chart).get('description', '')}"
