"""Stages against behaviors, one colored cell each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import answer_table
from aadsl.charts.frame import behaviors, rows, tooltips
from aadsl.charts.needs import EFFECTS, Need

CELL = 26
MIDDLE = "#8c8c8c40"
"""Neither helped nor hurt: nearly the background, in either theme."""
_STRONG = "abs(datum.share) > 0.45"
NUMBERS = 14
"""More behaviors than these leave no room for numbers in the cells."""


@dataclass(frozen=True)
class Heatmap:
    """One cell for each stage and behavior: blue where the stage helped, orange where it hurt.

    Each behavior has its own scale, because behaviors have different units: full color is the largest effect on it.
    A question mark is an answer of low trust.
    """

    needs: ClassVar[tuple[Need, ...]] = (EFFECTS,)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw all stages, or the members of the family ``by``."""
        table = answer_table(dataset, by)
        largest = table.groupby("behavior")["effect"].transform(lambda effect: effect.abs().max())
        names = behaviors(dataset)
        sign = table["behavior"].map({name: words.sign(dataset, name) for name in names})
        table["share"] = (sign * table["effect"] / largest.where(largest > 0, 1.0)).fillna(0.0)
        low = table["mark"] != ""
        table["label"] = table["effect"].map(lambda v: f"{v:+.3g}".replace("-", "−")) + low.map({True: " ?", False: ""})
        width = max(len(names) * (70 if len(names) <= NUMBERS else 18), 120)
        base = alt.Chart(rows(table)).encode(
            x=alt.X("behavior:N", title=None, sort=names, axis=_axis(orient="top", labelAngle=_angle(names))),
            y=alt.Y("stage:N", title=None, sort=None, axis=_axis(labelLimit=200)),
        )
        shown = ["label", "share", "mark"]
        tips = tooltips(table.drop(columns=shown), {"effect": "+.4~g", "retrained": "+.4~g"})
        cells = base.mark_rect(cornerRadius=2).encode(color=self._color(), tooltip=tips)
        layers = [cells]
        if len(names) <= NUMBERS:
            text = base.encode(text="label:N", tooltip=tips)
            layers.append(text.transform_filter(f"!({_STRONG})").mark_text(fontSize=11))
            layers.append(text.transform_filter(_STRONG).mark_text(fontSize=11, color="white"))
        chart = alt.layer(*layers).properties(width=width, height=alt.Step(CELL))
        doubt = "a question mark: low trust" if low.any() else ""
        stages = table["stage"].nunique()
        first = words.sentence("blue: the stage helped, orange: it hurt", words.provenance(dataset))
        title = f"Effect of {stages} stages on {words.quoted(names)}"
        return theme.titled(chart, title, first, words.sentence("each behavior has its own scale", doubt))

    def _color(self) -> Any:
        scale = alt.Scale(domain=[-1, 0, 1], range=[theme.HURT, MIDDLE, theme.HELPED])
        legend = alt.Legend(values=[-1, 0, 1], labelExpr="['most hurt', 'none', 'most helped'][datum.value + 1]")
        return alt.Color("share:Q", scale=scale, legend=legend, title=["share of the largest", "effect on a behavior"])


def _axis(**options: Any) -> Any:
    return alt.Axis(domain=False, ticks=False, labelPadding=6, **options)


def _angle(names: list[str]) -> int:
    return 0 if len(names) <= NUMBERS and max(map(len, names)) <= 11 else -35
