"""What every stage adds on the way from the model without any of them to the model as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import LOW_TRUST
from aadsl.charts.frame import behaviors, stages_of, table_chart, tooltips, zero_line
from aadsl.charts.needs import SHARES, WITHOUT_ALL, Need, demand
from aadsl.charts.panels import panels_of_names
from aadsl.core.arguments import checked
from aadsl.core.numbers import plain, signed

WITHOUT, OTHERS, OBSERVED = "without any of them", "the other stages", "the model as it is"
INTERACTION = "interaction"
NOTE = 100
"""Pixels of what is written beside a bar."""
FAINT = 0.8
"""Opacity of the lines that lead from a bar to the next."""
SQUEEZED = 0.3
"""Where shares move a behavior by less than this part of its size, the axis does not begin at zero."""
NEGLIGIBLE = 1e-9
"""What is missing to the whole, as a part of it, that is rounding."""


@checked
@dataclass(frozen=True)
class Waterfall:
    """What the model does without any of the stages, what each of them adds, and what the model does as it is.

    A bar begins where the one above it ends. Its color says whether the stage helped or hurt, a line the 90% interval
    of its share where that is not exact. With ``alone=true`` a bar is the effect of leaving out that stage alone; such
    effects do not add up, and the bar ``interaction`` is what the stages do together beyond their sum. Where the stages
    are all of the training, the model without any of them is the untrained one.
    """

    alone: bool = False

    needs: ClassVar[tuple[Need, ...]] = (SHARES, WITHOUT_ALL)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one panel for each behavior. ``by``: the members of this family; the other stages are one bar."""
        demand(dataset, "a waterfall", self.needs)
        shown = dataset.sel(stage=stages_of(dataset, by))
        names = behaviors(shown)
        rest = INTERACTION if self.alone else OTHERS
        if self.alone and shown.sizes["stage"] < dataset.sizes["stage"]:
            rest = f"{OTHERS}, {INTERACTION}"
        tables = {name: waterfall_table(shown.sel(behavior=name), self._part, rest) for name in names}

        def panel(name: str, width: int, axis: Any) -> Any:
            drawn = _panel(shown, name, tables[name], axis).properties(width=width)
            return drawn if len(names) == 1 else drawn.properties(title=theme.heading(words.label(dataset, name)))

        chart = panels_of_names(panel, [table["bar"].tolist() for table in tables.values()], names, NOTE)
        count, on = f"{shown.sizes['stage']} stages", words.quoted(names)
        title = f"What each of {count} alone does to {on}" if self.alone else f"Shares of {count} in {on}"
        return theme.titled(
            shown, chart, "effects of stages" if self.alone else "shares", title, *_legend(shown, tables, self.alone)
        )

    @property
    def _part(self) -> str:
        """The variable that a bar draws."""
        return "effect" if self.alone else "share"


def waterfall_table(one: xr.Dataset, part: str = "share", rest_name: str = OTHERS) -> pd.DataFrame:
    """Return one row a bar of one behavior: ``bar``, ``start``, ``end``, ``share``, its interval, ``trust`` and why.

    ``part`` is the variable whose bars they are, ``rest_name`` the name of the bar of what they lack to the whole.

    The first and the last row are values of the behavior; they begin at zero, or at the edge of a narrower axis.
    ``low`` and ``high`` say where a bar may end; missing where its share is exact.
    """
    without, observed = float(one["without"]), float(one["observed"])
    totals = (WITHOUT, rest_name, OBSERVED)
    stages = [f'"{name}"' if name in totals else str(name) for name in one["stage"].values]
    share = one[part].to_numpy().astype(float)
    rest = observed - without - share.sum()
    if abs(rest) > NEGLIGIBLE * max(abs(observed), abs(without), np.abs(share).sum()):
        stages, share = [*stages, rest_name], np.append(share, rest)
    ends = without + np.cumsum(share)
    starts = ends - share
    edge = _edge(np.concatenate([[without], ends]))
    frame = pd.DataFrame(
        {
            "bar": [WITHOUT, *stages, OBSERVED],
            "start": [edge, *starts, edge],
            "end": [without, *ends, observed],
            "share": [np.nan, *share, np.nan],
        }
    )
    for column in ("low", "high"):
        known = one[f"{part}_{column}"] if f"{part}_{column}" in one else one[part]
        bound = starts[: one.sizes["stage"]] + known.to_numpy()
        frame[column] = [np.nan, *bound, *[np.nan] * (len(frame) - 1 - len(bound))]
    frame.loc[frame["low"] == frame["high"], ["low", "high"]] = np.nan
    for column, variable in (("trust", "trust"), ("reason", "trust_reason")):
        if variable in one:
            said = [str(word) for word in one[variable].values]
            frame[column] = ["", *said, *[""] * (len(frame) - 1 - len(said))]
    return frame


def _edge(values: Any) -> float:
    """Return where the axis begins: at zero, unless that squeezed the shares."""
    low, high = float(values.min()), float(values.max())
    span = high - low
    if not span or low <= 0 <= high or span >= SQUEEZED * max(abs(low), abs(high)):
        return 0.0
    return low - span / 4 if low > 0 else high + span / 4


def _panel(dataset: xr.Dataset, name: str, frame: pd.DataFrame, axis: Any) -> Any:
    order, edge = frame["bar"].tolist(), float(frame["start"].iloc[0])
    y = alt.Y("bar:N", title=None, sort=order, axis=axis)
    label, unit = words.label(dataset, name), words.units(dataset, name)
    scale = alt.Scale(zero=not edge, nice=not edge)
    x = alt.X("start:Q", title=f"{label} in {unit}" if unit else label, scale=scale, axis=alt.Axis(tickCount=5))
    known = frame.assign(note=[_note(row) for row in frame.to_dict("records")], next=[*order[1:], order[-1]])
    base = table_chart(known).encode(y=y)
    tips = tooltips(frame.drop(columns="start"), {"share": "+.4~g"})
    sign = words.sign(dataset, name)
    stages = base.transform_filter("datum.share !== null")
    totals = base.transform_filter("datum.share === null")
    layers = [
        base.mark_rule(style="zero", opacity=FAINT).encode(x="end:Q", y2="next:N"),
        totals.mark_bar(height={"band": 0.7}, color=theme.NEITHER).encode(x=x, x2="end:Q", tooltip=tips),
        stages.mark_bar(height={"band": 0.7}).encode(
            x=x, x2="end:Q", color=theme.sign_color(sign, "share"), tooltip=tips
        ),
    ]
    if not edge:
        layers.append(zero_line("x"))
    if frame["low"].notna().any():
        layers.append(base.mark_rule(style="ink").encode(x="low:Q", x2="high:Q", tooltip=tips))
    layers.append(_notes(base))
    return alt.layer(*layers).properties(height=alt.Step(24))


def _notes(base: Any) -> Any:
    right = "max(datum.start, datum.end, datum.high === null ? datum.end : datum.high)"
    text = base.transform_calculate(right=right).mark_text(style="note", align="left", dx=6)
    return text.encode(x="right:Q", text="note:N")


def _note(row: dict[Any, Any]) -> str:
    """Return what stands beside a bar: the share with its sign, or the value."""
    if np.isnan(row["share"]):
        return plain(row["end"], 3)
    doubt = f", {LOW_TRUST}" if row.get("trust") == "low" else ""
    return signed(row["share"]) + doubt


def _legend(dataset: xr.Dataset, tables: dict[str, pd.DataFrame], alone: bool) -> list[str]:
    exact = "exact" not in dataset or bool(dataset["exact"].all())
    source = dataset if exact else dataset.assign_attrs(estimator="random orders of the stages")
    marks = [words.own_scales(behaviors(dataset))]
    if any(table["low"].notna().any() for table in tables.values()):
        marks.append("line: 90% interval of the share")
    if any(table["start"].iloc[0] for table in tables.values()):
        marks.append("the axis does not begin at zero")
    parts = "shares add up"
    if alone:
        parts = f"{INTERACTION}: what they do together beyond the sum of what each does alone"
    first = words.sentence(f"blue stages helped, orange ones hurt; {parts}", words.provenance(source))
    return [first, *filter(None, [words.sentence(*marks)])]
