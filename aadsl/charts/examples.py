"""The effect of every stage on every single example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import ESTIMATE, EXACT, LOW_TRUST, answer_table
from aadsl.charts.frame import behaviors, name_axis, of_stages, rows, stages_of, zero_line
from aadsl.charts.needs import EFFECTS, EXAMPLE_EFFECTS, Need, demand
from aadsl.charts.texts import is_picture
from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError

DOTS = 700
"""Dots of all stages and panels together; not all of more examples are drawn."""
PICTURES = 80_000
"""Bytes of the pictures and texts of a chart: a notebook keeps no more than 300 kB of it."""


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
        most = max(2, DOTS // (len(names) * each.sizes["stage"]))
        parts = {name: _thin(each.sel(behavior=name), most) for name in names}
        panels = [self._panel(dataset, name, parts[name], known, len(names)) for name in names]
        chart = panels[0] if len(panels) == 1 else alt.vconcat(*panels, spacing=18)
        meaning = words.meaning(
            dataset, "one dot an example: to the right the stage {good} on it, to the left it {bad}"
        )
        title = f"Effect of each stage on the single examples of {words.quoted(names)}"
        first = words.sentence(meaning, words.provenance(dataset))
        drawn, known_of = sum(map(len, parts.values())), int(np.isfinite(each.sel(behavior=names).values).sum())
        thinned = (
            f"{drawn:,} of {known_of:,} effects are drawn: of each stage the furthest, and evenly of the others"
            if drawn < known_of
            else ""
        )
        return theme.titled(
            of_stages(dataset, by),
            chart,
            "effects of stages",
            title,
            first,
            _legend(known, names),
            words.sentence(thinned),
        )

    def _panel(self, dataset: xr.Dataset, name: str, frame: pd.DataFrame, known: pd.DataFrame, panels: int) -> Any:
        one = known[known["behavior"] == name].drop(columns="behavior")
        evidence = [column for column in one if column != "stage"]
        tips = ["stage:N", "example:Q", alt.Tooltip("effect:Q", format="+.4~g")]
        tips += [f"{column}:N" for column in ("how", "trust", "reason") if column in one]
        chart = alt.Chart(rows(frame))
        if len(one):
            chart = chart.transform_lookup("stage", alt.LookupData(rows(one), "stage", evidence))
        if "thumbnail" in dataset:
            seen = _looks(frame, dataset["thumbnail"].sel(behavior=name), PICTURES // panels)
            kinds = [kind for kind in ("image", "text") if kind in seen]
            tips += [alt.Tooltip(f"{kind}:N") for kind in kinds]
            chart = chart.transform_lookup("example", alt.LookupData(rows(seen), "example", kinds))
        sign = theme.sign_color(words.sign(dataset, name))
        y = alt.Y("stage:N", title=None, sort=None, axis=name_axis(frame["stage"]))
        filled = (
            alt.when(f"datum.mark === '{LOW_TRUST}'")
            .then(alt.value(0))
            .when(f"datum.how === '{ESTIMATE}'")
            .then(alt.value(0.25))
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
            layers.append(marks.encode(x=alt.value(theme.WIDTH - 150), y=y, text="mark:N"))
        panel = alt.layer(*layers).properties(width=theme.WIDTH - 150, height=alt.Step(self.height))
        return panel if panels == 1 else panel.properties(title=theme.heading(words.label(dataset, name)))


def _evidence(dataset: xr.Dataset, by: str | None) -> pd.DataFrame:
    """Return how each stage's effects on each behavior came about and how far to trust them, where that is known."""
    if not EFFECTS.met_by(map(str, dataset.variables)):
        return pd.DataFrame({"stage": [], "behavior": [], "how": [], "mark": []})
    columns = ("stage", "behavior", "how", "trust", "reason", "mark")
    return answer_table(dataset, by).filter(columns)


def _legend(known: pd.DataFrame, names: list[str]) -> str:
    how = set(known["how"])
    marks = {
        "solid: exact, by training again": EXACT in how,
        "outlined: estimate": ESTIMATE in how,
        "hollow: low trust in the effect of the stage": (known["mark"] != "").any(),
    }
    return words.sentence(words.own_scales(names), "; ".join(said for said, there in marks.items() if there))


def _looks(frame: pd.DataFrame, thumbnails: xr.DataArray, most: int) -> pd.DataFrame:
    """Return example and what it looks like, in a column ``image``, which Vega's tooltip shows as one, or ``text``.

    Of the examples with the largest effects, as many as take no more than ``most`` bytes.
    """
    order = frame.loc[frame["effect"].abs().sort_values(ascending=False).index, "example"].unique()
    shown = thumbnails.sel(example=order).values.astype(str)
    kind = "image" if all(is_picture(text) for text in shown.tolist() if text) else "text"
    few = np.cumsum(np.char.str_len(shown)) <= most
    return pd.DataFrame({"example": order[few], kind: shown[few]})


def _thin(each: xr.DataArray, most: int) -> pd.DataFrame:
    """Return stage, example, effect and a vertical place that keeps dots apart.

    Of more than ``most`` examples of a stage the furthest on either side, and evenly many of the others.
    """
    parts = []
    for stage in each["stage"].values:
        values = each.sel(stage=stage).values.astype(float)
        frame = pd.DataFrame({"stage": str(stage), "effect": values, "example": each["example"].values}).dropna()
        frame = frame.iloc[_furthest(frame["effect"].to_numpy(), most)]
        # Low-discrepancy places: neighbors in the data are never neighbors on the strip.
        parts.append(frame.assign(spread=((np.arange(len(frame)) * 0.6180339887) % 1.0) * 1.5 - 0.75))
    return pd.concat(parts, ignore_index=True)


def _furthest(effects: np.ndarray, most: int) -> np.ndarray:
    """Return which effects to draw, in their order."""
    count = len(effects)
    if count <= most:
        return np.arange(count)
    tail = max(1, most // 5)
    between = np.linspace(tail, count - tail - 1, max(0, most - 2 * tail)).astype(int)
    return np.sort(np.argsort(effects)[np.unique(np.r_[:tail, between, count - tail : count])])
