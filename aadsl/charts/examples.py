"""The effect of every stage on every single example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.frame import behaviors, rows, stages_of, zero_line
from aadsl.charts.needs import EXAMPLE_EFFECTS, Need, demand
from aadsl.charts.thin import extremes
from aadsl.core.errors import AadslError

SLICES = 250


@dataclass(frozen=True)
class ExampleStrip:
    """One dot an example: to the right the stage helped on it, to the left it hurt; hover to see the example.

    ``height`` is that of one stage's strip in pixels. Pictures and texts of the examples appear on hover where the
    answer carries them (:func:`aadsl.charts.thumbnails.with_thumbnails`).
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
        panels = [self._panel(dataset, name, each.sel(behavior=name), alone=len(names) == 1) for name in names]
        chart = panels[0] if len(panels) == 1 else alt.vconcat(*panels, spacing=18)
        meaning = words.meaning(
            dataset, "one dot an example: to the right the stage {good} on it, to the left it {bad}"
        )
        title = f"Effect of each stage on the single examples of {words.quoted(names)}"
        return theme.titled(chart, title, words.sentence(meaning, words.provenance(dataset)))

    def _panel(self, dataset: xr.Dataset, name: str, each: xr.DataArray, alone: bool) -> Any:
        frame = _thin(each)
        tips = ["stage:N", "example:Q", alt.Tooltip("effect:Q", format="+.4~g")]
        chart = alt.Chart(rows(frame))
        if "thumbnail" in dataset:
            numbers = frame["example"].unique()
            seen = _looks(numbers, dataset["thumbnail"].sel(behavior=name, example=numbers).values)
            kinds = [kind for kind in ("image", "text") if kind in seen]
            tips += [alt.Tooltip(f"{kind}:N") for kind in kinds]
            chart = chart.transform_lookup("example", alt.LookupData(rows(seen), "example", kinds))
        sign = theme.sign_color(words.sign(dataset, name))
        y = alt.Y("stage:N", title=None, sort=None, axis=alt.Axis(labelLimit=170, ticks=False))
        dots = chart.mark_circle(size=40, opacity=0.55).encode(
            x=alt.X("effect:Q", title=words.effect_axis(dataset, name, "effect on the example")),
            y=y,
            yOffset=alt.YOffset("spread:Q", scale=alt.Scale(domain=[-1, 1])),
            color=sign,
            tooltip=tips,
        )
        zero = zero_line("x")
        panel = alt.layer(dots, zero).properties(width=theme.WIDTH - 120, height=alt.Step(self.height))
        return panel if alone else panel.properties(title=alt.Title(name, fontSize=12, offset=6))


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
