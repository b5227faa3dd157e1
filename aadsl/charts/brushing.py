"""A timeline to drag over, for pages without a kernel: what the steps under the brush did together."""

from __future__ import annotations

import warnings
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import doubt, theme, words
from aadsl.charts.compression import compressed_in_words, compression
from aadsl.charts.frame import behaviors, table_chart, zero_line
from aadsl.charts.grouping import group_steps
from aadsl.charts.needs import STEP_EFFECTS, demand
from aadsl.charts.phases import NAMES_ABOVE, phase_marks, phase_starts
from aadsl.charts.schedule import stacked, step_axis
from aadsl.charts.thin import SLICES, affordable, slice_numbers
from aadsl.charts.timeline import bar_width

HEIGHT = 150
ABOVE = 8
"""Pixels between a panel and the words about its selection, where no names of phases stand between."""
MARKS = 800
"""Bars of all panels together: of more, coarser slices are shown, so that a notebook keeps few of them."""
FEWEST = 30
"""No fewer slices are shown."""


def brushable(dataset: xr.Dataset, selection: str = "", start: int = 0, stop: int = 0, linear: bool = False) -> Any:
    """Return a chart of ``step_effect``, a panel for each behavior, that sums the effects of the steps under its brush.

    Effects of single steps add up, so a sum is the first-order estimate of skipping these steps. Of a long run each bar
    is the sum over a slice of the steps, and the brush takes slices: its sums leave nothing out. The legend selects.

    Args:
        dataset: the answer.
        selection: what is selected from the start, in words.
        start: the first step under the brush from the start; ``stop`` is after the last, no brush where they are alike.
        stop: see ``start``.
        linear: whether lengths are drawn as they are also where a few steps then hide the others.

    Raises:
        AadslError: the answer has no effects of single steps.
    """
    demand(dataset, "a timeline", [STEP_EFFECTS])
    known = dataset["step_effect"].notnull().any("step")
    grouping, names = group_steps(dataset, None), behaviors(dataset.sel(behavior=known))
    extent = {"x": [start - 0.5, stop - 0.5]} if start < stop else alt.Undefined
    brush = alt.selection_interval(name="brush", encodings=["x"], value=extent)
    groups = grouping.shown
    slices = _affordable(dataset, names, groups)
    legend = alt.selection_point(name="chosen", fields=["group"], bind="legend")
    lift = NAMES_ABOVE if len(phase_starts(dataset)) else ABOVE
    panels = []
    sums_of = {name: brush_table(dataset, name, groups, slices) for name in names}
    squeezed = {name: None if linear else compression(sums["effect"].to_numpy()) for name, sums in sums_of.items()}
    for name, sums in sums_of.items():
        axis = squeezed[name]
        base = table_chart(sums)
        picked = alt.when(brush & legend).then(alt.value(1)).otherwise(alt.value(0.25))
        bars = base.mark_rule(strokeWidth=bar_width(sums["step"].nunique())).encode(
            x=step_axis(dataset["step"].to_numpy()),
            y=alt.Y("from:Q", title=words.panel_axis(dataset, name), **(axis.channel if axis else {})),
            y2="to:Q",
            color=grouping.color("group"),
            opacity=picked,
            tooltip=[
                alt.Tooltip("first:Q", title="from step", format=",d"),
                alt.Tooltip("last:Q", title="to step", format=",d"),
                alt.Tooltip("effect:Q", format="+.4~g"),
                alt.Tooltip("group:N", title=grouping.title),
            ],
        )
        layers = [
            bars.add_params(brush, legend),
            zero_line("y"),
            *phase_marks(dataset),
            _sum(base, brush & legend, lift),
        ]
        title = theme.heading(words.label(dataset, name))
        panels.append(alt.layer(*layers).properties(width=theme.WIDTH, height=HEIGHT, title=title))
    steps = dataset.sizes["step"]
    sliced = f"each bar sums one of {slices:,} slices of the {steps:,} steps" if steps > slices else ""
    how = "drag over the steps, or click in the legend: the effects of what is selected are summed"
    first = words.sentence(how, words.step_provenance(dataset))
    with warnings.catch_warnings():  # one brush for all panels is what is meant
        warnings.filterwarnings("ignore", message="Automatically deduplicated selection parameter")
        chart = stacked(panels)
    said = f"selected: {selection}" if selection else ""
    low = doubt.said(dataset, "these steps")
    return theme.titled(
        dataset,
        chart,
        "effects of steps",
        "Select steps",
        first,
        words.sentence(words.own_scales(names), compressed_in_words(squeezed), sliced, low),
        words.sentence(said),
    )


def _affordable(dataset: xr.Dataset, names: list[str], groups: np.ndarray) -> int:
    """Return in how many slices the panels have no more than ``MARKS`` bars, in as many as may be."""
    return affordable(
        lambda slices: sum(len(brush_table(dataset, name, groups, slices)) for name in names), MARKS, FEWEST
    )


def brush_table(dataset: xr.Dataset, behavior: str, groups: np.ndarray, slices: int = SLICES) -> pd.DataFrame:
    """Return one row a bar: ``step`` in its middle, ``first`` and ``last`` step, ``count``, ``effect``, ``group``.

    ``from`` and ``to`` are its ends: bars of one slice stand on each other, on either side of zero.
    """
    steps = dataset["step"].to_numpy()
    effects = dataset["step_effect"].sel(behavior=behavior).to_numpy().astype(float)
    frame = pd.DataFrame({"step": steps, "effect": effects, "group": groups}).dropna(subset=["effect"])
    place = slice_numbers(steps, slices)[frame.index] if len(steps) > slices else frame["step"].to_numpy()
    cells = frame.groupby([pd.Series(place, frame.index), "group"], sort=False)
    named = {"first": ("step", "min"), "last": ("step", "max"), "count": ("step", "size"), "effect": ("effect", "sum")}
    table = cells.agg(**named).reset_index(names=["place", "group"])
    ends = table.groupby(["place", table["effect"] < 0])["effect"].cumsum()
    middle = table.groupby("place")
    table["step"] = (middle["first"].transform("min") + middle["last"].transform("max")) / 2
    return table.assign(**{"from": ends - table["effect"], "to": ends}).drop(columns="place")


def _sum(base: Any, chosen: Any, lift: int) -> Any:
    """Return the words over a panel: which steps are selected, how many, and what they did together."""
    said = (
        "datum.count === 0 ? 'no step' : (datum.count === 1 ? '1 step' : format(datum.count, ',d') + ' steps')"
        " + ', ' + format(datum.first, ',d') + ' to ' + format(datum.last, ',d') + ': '"
        " + replace(format(datum.effect, '+.4~g'), 'e-', 'e−')"
    )
    total = base.transform_filter(chosen).transform_aggregate(
        first="min(first)", last="max(last)", count="sum(count)", effect="sum(effect)"
    )
    text = total.transform_calculate(said=said).mark_text(align="left", baseline="bottom", fontSize=12)
    return text.encode(x=alt.value(0), y=alt.value(-lift), text="said:N")
