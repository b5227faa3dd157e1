"""One look for every chart: colors that color-blind readers tell apart, inks for paper and for JupyterLab.

A chart itself names no ink. ``styled`` adds it at the end, so the same chart is drawn dark on white in a file and in
the reader's own theme in JupyterLab, where the inks are the CSS variables of Lab.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, cast

import altair as alt
import xarray as xr

from aadsl.charts.description import Drawn, extremes_in_words
from aadsl.charts.texts import LABEL, LETTER, drawable, label_expression

HELPED = "#0072B2"
HURT = "#D55E00"
NEITHER = "#808080"
"""Steps in no stage: drawn half transparent, so they recede on white and on black."""

STAGES = ("#4B9A45", "#9F4199", "#846409", "#716ADB", "#D962BC", "#0B6F47")
"""Colors of stages: none resembles those that mean helped and hurt, and each stands out from white and from black."""
MORE = "#5C5F7A"
"""Stages for which no color is left, all together."""

SEQUENTIAL = ("#5459BE", "#9A4FAE", "#C95A78", "#C4803A")
"""From small to large numbers: lighter and warmer, and all between them stands out from white and from black."""
WIDTH = 620
"""Pixels of a panel over the steps: with its axis it fits a notebook in a window of 900."""
LINE = 108
"""Characters of a line under the title, which then is about as wide as the chart."""
HEADLINE = 80
"""Characters of a line of the title."""
FONT = "sans-serif"
SYMBOL = 30
"""Pixels of a legend's entry beside its text."""
NUMBERS = ".6~g"
"""Numbers on axes: very small ones have an exponent instead of a long row of zeros."""
EXPONENT = "replace(datum.label, 'e-', 'e−')"
OURS = {"madeBy": "aadsl"}


@dataclass(frozen=True)
class Inks:
    """The colors of everything that is not data."""

    text: str
    soft: str
    grid: str
    background: str


PAPER = Inks(text="#222222", soft="#555555", grid="#e4e4e4", background="#ffffff")
ELSEWHERE = "var(--vscode-editor-foreground, currentColor)"
"""In pages other than JupyterLab's, the ink of the page: whatever is readable there."""
LAB = Inks(
    text=f"var(--jp-ui-font-color1, {ELSEWHERE})",
    soft=f"var(--jp-ui-font-color2, {ELSEWHERE})",
    grid="var(--jp-border-color2, #76767640)",
    background="transparent",
)


def config(inks: Inks) -> dict[str, Any]:
    """Return the Vega-Lite configuration that draws a chart with these ``inks``."""
    text = {"font": FONT, "color": inks.text}
    labels = {"labelFont": FONT, "labelColor": inks.text, "titleFont": FONT, "titleColor": inks.text}
    return {
        "background": inks.background,
        "font": FONT,
        "numberFormat": NUMBERS,
        "view": {"stroke": None},
        "scale": {"invalid": {"color": {"value": NEITHER}}},
        "axis": {
            **labels,
            "labelLimit": 300,
            "labelSeparation": 4,
            "gridColor": inks.grid,
            "domainColor": inks.soft,
            "tickColor": inks.soft,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 11,
        },
        "legend": {**labels, "titleFontWeight": "normal", "labelLimit": 300, "symbolOpacity": 1},
        "header": {**labels, "titleFontWeight": "normal"},
        "title": {
            **text,
            "anchor": "start",
            "frame": "group",
            "fontSize": 14,
            "fontWeight": 600,
            "offset": 12,
            "subtitleColor": inks.soft,
            "subtitleFont": FONT,
            "subtitleFontSize": 11,
            "subtitlePadding": 5,
        },
        "text": text,
        "rule": {"color": inks.soft},
        "style": {
            "zero": {"color": inks.soft, "strokeWidth": 1},
            "boundary": {"color": inks.soft, "strokeWidth": 1, "strokeDash": [4, 3]},
            "ink": {"color": inks.text, "strokeWidth": 1.5},
            "mark": {"color": inks.text},
            "frame": {"color": inks.text, "strokeWidth": 1.5},
            "spread": {"color": inks.soft, "strokeWidth": 2},
            "note": {"font": FONT, "color": inks.soft, "fontSize": 11},
        },
    }


def titled(dataset: xr.Dataset, chart: Any, drawn: Drawn, text: str, *lines: str) -> Any:
    """Return ``chart`` with a title in words and the lines under it that are not empty; marked as one of ours.

    The last line says of which run it is. Its description, for those who cannot see it, tells the extremes of what is
    ``drawn`` of ``dataset``, too.
    """
    runs = str(dataset.attrs.get("runs", ""))
    said = (*lines, f'Of the run "{runs}".' if runs else "")
    shown = [part for line in said if line for part in wrap(line, LINE, break_long_words=False)]
    headline = wrap(text, HEADLINE, break_long_words=False)
    title = alt.Title(headline if len(headline) > 1 else text, subtitle=shown)
    description = " ".join(filter(None, [f"{text}.", *said, extremes_in_words(dataset, drawn)]))
    return chart.properties(title=title, description=description, usermeta=OURS)


def heading(text: str, **options: Any) -> Any:
    """Return the title of one panel among several."""
    return alt.Title(text, fontSize=12, offset=6, **options)


def name_legend(names: Iterable[str]) -> Any:
    """Return a legend of names over the chart, no wider than that; the ends of long ones stay."""
    names = list(names)
    widest = SYMBOL + LETTER * min(max(map(len, names), default=0), LABEL)
    return alt.Legend(orient="top", columns=int(WIDTH / widest), labelExpr=label_expression(names) or alt.Undefined)


def is_ours(chart: Any) -> bool:
    """Whether ``chart`` came from this package: only such charts are displayed in our way."""
    return getattr(chart, "usermeta", None) == OURS


def sign_color(sign: int, field: str = "effect") -> Any:
    """Return the color of an effect that helped or hurt; ``sign`` as :func:`aadsl.charts.words.sign` gives it."""
    return alt.condition(f"datum.{field} * {sign} >= 0", alt.value(HELPED), alt.value(HURT))


def specification(chart: Any) -> dict[str, Any]:
    """Return the Vega-Lite specification of ``chart``, whatever texts it shows; of what is one already, itself."""
    if isinstance(chart, dict):
        return chart
    # The tests validate every chart: here it would take longer than all the rest.
    return cast("dict[str, Any]", _signed(drawable(chart.to_dict(validate=False))))


def _signed(spec: Any) -> Any:
    """Return a specification whose axes have one minus sign: Vega writes that of an exponent as a hyphen."""
    if isinstance(spec, list):
        return [_signed(part) for part in spec]
    if not isinstance(spec, dict):
        return spec
    signed = {key: value if key in ("data", "datasets") else _signed(value) for key, value in spec.items()}
    for channel in ("x", "y"):
        drawn = signed.get("encoding", {}).get(channel, {})
        if drawn.get("type") == "quantitative" and (axis := drawn.get("axis", {})) is not None:
            drawn["axis"] = {"labelExpr": EXPONENT, **axis}
    return signed


def styled(chart: Any, inks: Inks) -> dict[str, Any]:
    """Return the specification of ``chart``, or of its specification, drawn with ``inks``."""
    spec = specification(chart)
    return {**spec, "config": {**spec.get("config", {}), **config(inks)}}
