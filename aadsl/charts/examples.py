"""The effect of every stage on every single example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import ESTIMATE, EXACT, answer_table
from aadsl.charts.frame import behaviors, rows, stages_of, zero_line
from aadsl.charts.needs import EFFECTS, EXAMPLE_EFFECTS, Need, demand
from aadsl.charts.thin import extremes
from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError

SLICES = 250


@checked
@dataclass(frozen=True)
class ExampleStrip:
    """One dot an example: to the right the stage helped on it, to the left it hurt; hover to see the example.

    ``height`` is that of one stage's strip in pixels. Pictures and texts of the examples appear on hover where the
    answer carries them (:func:`aadsl.charts.thumbnails.with_thumbnails`). Solid dots are exact, outlined ones
    estimates, hollow ones of low trust.
    """

    height: int = 46

    needs: ClassVar[tuple[Need, ...]] = (EXAMPLE_EFFECTS,)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = True

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one panel for each behavior that has single examples. ``by``: only this family of stages."""
        demand(dataset, "a strip of examples", self.needs)
        each = dataset["example_effect"].sel(stage=stages_of(dataset, by))
        names = [name for name in behaviors(dataset) if np.isfinite(each.sel(behavior=name).values).any()]
        if not names:
            raise AadslError("no behavior of this answer has effects of single examples", hint=EXAMPLE_EFFECTS.way_out)
        known = _evidence(dataset, by)
        panels = [self._panel(dataset, name, each.sel(behavior=name), known, alone=len(names) == 1) for name in names]
        chart = panels[0] if len(panels) == 1 else alt.vconcat(*panels, spacing=18)
        meaning = words.meaning(
            dataset, "one dot an example: to the right the stage {good} on it, to the left it {bad}"
        )
        title = f"Effect of each stage on the single examples of {words.quoted(names)}"
        return theme.titled(chart, title, words.sentence(meaning, words.provenance(dataset)), _legend(known))

    def _panel(self, dataset: xr.Dataset, name: str, each: xr.DataArray, known: pd.DataFrame, alone: bool) -> Any:
        one = known[known["behavior"] == name].drop(columns="behavior")
        frame = _thin(each).merge(one, on="stage", how="left")
        tips = ["stage:N", "example:Q", alt.Tooltip("effect:Q", format="+.4~g")]
        tips += [f"{column}:N" for column in ("how", "trust", "reason") if column in one]
        chart = alt.Chart(rows(frame))
        if "thumbnail" in dataset:
            numbers = frame["example"].unique()
            seen = _looks(numbers, dataset["thumbnail"].sel(behavior=name, example=numbers).values)
            kinds = [kind for kind in ("image", "text") if kind in seen]
            tips += [alt.Tooltip(f"{kind}:N") for kind in kinds]
            chart = chart.transform_lookup("example", alt.LookupData(rows(seen), "example", kinds))
        sign = theme.sign_color(words.sign(dataset, name))
        y = alt.Y("stage:N", title=None, sort=None, axis=alt.Axis(labelLimit=170, ticks=False))
        filled = (
            alt.when("datum.mark !== ''").then(alt.value(0)).when(f"datum.how === '{ESTIMATE}'").then(alt.value(0.25))
        )
        dots = chart.mark_point(size=36, strokeWidth=1, opacity=1).encode(
            x=alt.X("effect:Q", title=words.effect_axis(dataset, name, "effect on the example")),
            y=y,
            yOffset=alt.YOffset("spread:Q", scale=alt.Scale(domain=[-1, 1])),
            fill=sign,
            stroke=sign,
            fillOpacity=filled.otherwise(alt.value(0.8)),
            tooltip=tips,
        )
        layers = [dots, zero_line("x")]
        if (one["mark"] != "").any():
            marks = alt.Chart(rows(one[["stage", "mark"]])).mark_text(style="note", align="left", dx=8)
            layers.append(marks.encode(x=alt.value(theme.WIDTH - 120), y=y, text="mark:N"))
        panel = alt.layer(*layers).properties(width=theme.WIDTH - 120, height=alt.Step(self.height))
        return panel if alone else panel.properties(title=alt.Title(name, fontSize=12, offset=6))


def _evidence(dataset: xr.Dataset, by: str | None) -> pd.DataFrame:
    """Return how each stage's effects on each behavior came about and how far to trust them, where that is known."""
    if not EFFECTS.met_by(map(str, dataset.variables)):
        return pd.DataFrame({"stage": [], "behavior": [], "how": [], "mark": []})
    columns = ("stage", "behavior", "how", "trust", "reason", "mark")
    return answer_table(dataset, by).filter(columns)


def _legend(known: pd.DataFrame) -> str:
    how = set(known["how"])
    marks = {
        "solid: exact, by training again": EXACT in how,
        "outlined: estimate": ESTIMATE in how,
        "hollow: low trust in the effect of the stage": (known["mark"] != "").any(),
    }
    return words.sentence("; ".join(said for said, there in marks.items() if there))


def _looks(numbers: np.ndarray, thumbnails: np.ndarray) -> pd.DataFrame:
    """Return example and what it looks like, in a column ``image``, which Vega's tooltip shows as one, or ``text``."""
    shown = thumbnails.astype(str)
    kind = "image" if np.char.startswith(shown, "data:image/").any() else "text"
    return pd.DataFrame({"example": numbers, kind: shown})


def _thin(each: xr.DataArray) -> pd.DataFrame:
    """Return stage, example, effect and a vertical place that keeps dots apart; the extremes of many examples."""
    parts = []
    for stage in each["stage"].values:
        values = each.sel(stage=stage).values.astype(float)
        frame = pd.DataFrame({"step": np.arange(len(values)), "effect": values, "example": each["example"].values})
        frame = extremes(frame.dropna(), "effect", slices=SLICES) if len(values) > 2 * SLICES else frame.dropna()
        frame = frame.assign(stage=str(stage))
        # Low-discrepancy places: neighbors in the data are never neighbors on the strip.
        frame["spread"] = ((np.arange(len(frame)) * 0.6180339887) % 1.0) * 1.5 - 0.75
        parts.append(frame.drop(columns="step"))
    return pd.concat(parts, ignore_index=True)
