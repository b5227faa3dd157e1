"""The effect of every stage on every behavior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import answer_table
from aadsl.charts.frame import behaviors, rows, tooltips, zero_line
from aadsl.charts.needs import EFFECTS, Need

COLUMNS = 2


@dataclass(frozen=True)
class Bars:
    """One bar a stage: to the right the stage helped, to the left it hurt.

    A diamond marks the exact effect where it was computed, a line the middle 80% of the examples; a pale bar is an
    answer of low trust. ``sort`` orders the stages by their effect instead of keeping the order of the program.
    """

    sort: bool = False

    needs: ClassVar[tuple[Need, ...]] = (EFFECTS,)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one panel for each behavior. ``by``: show only the members of this family of stages."""
        table = answer_table(dataset, by)
        names = behaviors(dataset)
        width = theme.WIDTH - 180 if len(names) == 1 else (theme.WIDTH - 120) // COLUMNS
        panels = [
            self._panel(dataset, name, table[table["behavior"] == name], width, alone=len(names) == 1) for name in names
        ]
        chart = panels[0] if len(panels) == 1 else alt.concat(*panels, columns=COLUMNS, spacing=28)
        title = f"Effect of {_stages(table)} on {words.quoted(names)}"
        return theme.titled(chart, title, *_legend(dataset, table))

    def _panel(self, dataset: xr.Dataset, name: str, frame: pd.DataFrame, width: int, alone: bool) -> Any:
        y = alt.Y("stage:N", title=None, sort="-x" if self.sort else None, axis=alt.Axis(labelLimit=170, ticks=False))
        x = alt.X("effect:Q", title=words.effect_axis(dataset, name), axis=alt.Axis(tickCount=5))
        base = alt.Chart(rows(frame)).encode(y=y)
        sign = theme.sign_color(words.sign(dataset, name))
        faint = alt.condition("datum.mark !== ''", alt.value(0.45), alt.value(0.9))
        tips = tooltips(frame.drop(columns="mark"), {"effect": "+.4~g", "retrained": "+.4~g"})
        layers = [base.mark_bar(height={"band": 0.7}).encode(x=x, color=sign, opacity=faint, tooltip=tips)]
        layers.append(zero_line("x"))
        if "low" in frame and frame["low"].notna().any():
            layers.append(base.mark_rule(style="ink").encode(x="low:Q", x2="high:Q", tooltip=tips))
        if "retrained" in frame:
            exact = base.mark_point(style="mark", shape="diamond", filled=True, size=55, opacity=1)
            layers.append(exact.encode(x="retrained:Q", tooltip=tips))
        if (frame["mark"] != "").any():
            layers.append(self._trust(base))
        panel = alt.layer(*layers).properties(width=width, height=alt.Step(24))
        return panel if alone else panel.properties(title=alt.Title(name, fontSize=12, offset=6))

    def _trust(self, base: Any) -> Any:
        end = "max(0, datum.effect, datum.high || 0, datum.retrained || 0)"
        text = base.transform_calculate(end=end).mark_text(style="note", align="left", dx=8)
        return text.encode(x="end:Q", text="mark:N")


def _stages(table: pd.DataFrame) -> str:
    names = list(dict.fromkeys(table["stage"]))
    return f'stage "{names[0]}"' if len(names) == 1 else f"{len(names)} stages"


def _legend(dataset: xr.Dataset, table: pd.DataFrame) -> list[str]:
    marks = []
    if "retrained" in table:
        marks.append("diamond: the exact effect, by retraining")
    if "low" in table and table["low"].notna().any():
        marks.append("line: the middle 80% of the examples")
    first = words.sentence(
        words.meaning(dataset, "to the right a stage {good}, to the left it {bad}"), words.provenance(dataset)
    )
    return [first, *filter(None, [words.sentence(*marks)])]
