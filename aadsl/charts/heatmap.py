"""Stages against behaviors, one colored cell each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import EXACT, HIDDEN, answer_table
from aadsl.charts.frame import behaviors, name_axis, of_stages, table_chart, tooltips
from aadsl.charts.needs import EFFECTS, Need
from aadsl.core.numbers import signed

CELL = 26
MIDDLE = "#8c8c8c40"
"""Neither helped nor hurt: nearly the background, in either theme."""
SHEER = "8c"
"""Opacity of cells with numbers: at full color, text in the ink of either theme still has a contrast of 4.5."""
NUMBERS = 14
"""More behaviors than these leave no room for numbers in the cells."""


@dataclass(frozen=True)
class Heatmap:
    """One cell for each stage and behavior: blue where the stage helped, orange where it hurt.

    Each behavior has its own scale, because behaviors have different units: full color is the largest effect on it.
    Among estimates, an exact number has a frame. A question mark is an answer of low trust.
    """

    needs: ClassVar[tuple[Need, ...]] = (EFFECTS,)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw all stages, or the members of the family ``by``."""
        table = answer_table(dataset, by)
        largest = table.groupby("behavior")["best"].transform(lambda effect: effect.abs().max())
        names = behaviors(dataset)
        sign = table["behavior"].map({name: words.sign(dataset, name) for name in names})
        table["share"] = (sign * table["best"] / largest.where(largest > 0, 1.0)).fillna(0.0)
        low = table["mark"] != ""
        table["label"] = table["best"].map(_number) + low.map({True: " ?", False: ""})
        table["framed"] = _framed(table)
        numbers = len(names) <= NUMBERS
        width = max(len(names) * (70 if numbers else 18), 120)
        base = table_chart(table).encode(
            x=alt.X("behavior:N", title=None, sort=names, axis=_axis(names, orient="top", labelAngle=_angle(names))),
            y=alt.Y("stage:N", title=None, sort=None, axis=_axis(table["stage"])),
        )
        told = table.drop(columns=["label", "share", "framed", *HIDDEN], errors="ignore")
        base = base.encode(tooltip=tooltips(told, {"effect": "+.4~g", "retrained": "+.4~g"}))
        layers = [base.mark_rect(cornerRadius=2).encode(color=self._color(SHEER if numbers else ""))]
        if table["framed"].any():
            frames = base.transform_filter("datum.framed")
            layers.append(frames.mark_rect(style="frame", filled=False, width={"band": 0.94}, height={"band": 0.84}))
        if numbers:
            layers.append(base.mark_text(fontSize=11).encode(text="label:N"))
        chart = alt.layer(*layers).properties(width=width, height=alt.Step(CELL))
        stages = table["stage"].nunique()
        title = f"Effect of {stages} stages on {words.quoted(names)}"
        frame = "framed: exact, by training again" if table["framed"].any() else ""
        if "retrained" in table and not frame:
            frame = "the numbers are exact, by training again; the estimates appear on hover"
        doubt = "a question mark: low trust" if low.any() and numbers else ""
        first = words.sentence("blue: the stage helped, orange: it hurt", words.provenance(dataset))
        return theme.titled(
            of_stages(dataset, by),
            chart,
            "effects of stages",
            title,
            first,
            words.sentence(words.own_scales(names), frame, doubt),
        )

    def _color(self, opacity: str) -> Any:
        ends = [f"{theme.HURT}{opacity}", MIDDLE, f"{theme.HELPED}{opacity}"]
        legend = alt.Legend(values=[-1, 0, 1], labelExpr="['most hurt', 'none', 'most helped'][datum.value + 1]")
        scale = alt.Scale(domain=[-1, 0, 1], range=ends)
        return alt.Color("share:Q", scale=scale, legend=legend, title=["share of the largest", "effect on a behavior"])


def _framed(table: pd.DataFrame) -> Any:
    """Return which cells show an exact number among estimates; where all are alike, the subtitle says what they are."""
    exact = table["how"] == EXACT
    if "retrained" in table:
        exact |= table["retrained"].notna()
    return exact & (not exact.all())


def _number(value: float) -> str:
    return signed(value) if np.isfinite(value) else ""


def _axis(names: Iterable[str], **options: Any) -> Any:
    return name_axis(names, domain=False, labelPadding=6, **options)


def _angle(names: list[str]) -> int:
    return 0 if len(names) <= NUMBERS and max(map(len, names)) <= 11 else -35
