"""The effect of every step, in the order of training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.band import band
from aadsl.charts.compression import Compression, compressed_in_words, compression
from aadsl.charts.doubt import doubted, said, step_trust
from aadsl.charts.frame import behaviors, listed, step_table, tooltips, unrolled, zero_line
from aadsl.charts.grouping import GRAY, Grouping, group_steps
from aadsl.charts.needs import STEP_EFFECTS, Need, demand
from aadsl.charts.phases import NAMES_ABOVE, phase_marks, phase_starts
from aadsl.charts.schedule import schedule_panels, stacked, step_axis
from aadsl.charts.thin import AFFORDED, affordable, extremes
from aadsl.core.arguments import checked

GAP = 5
WHISKERS = 160
"""Of more steps intervals are not drawn: their whiskers would cover each other."""
PALE = 0.4
COARSE = 160
"""Slices in which the extremes of every color and all metadata are shown, where there is room for them."""


@checked
@dataclass(frozen=True)
class Timeline:
    """One bar a step: above zero the step helped, below it hurt; colored by stage.

    ``schedule`` adds learning rate, momentum and loss on the same axis; ``height`` is that of one panel in pixels.
    Where few stages are asked about, a band over their steps says their exact effect. Pale steps are of low trust.
    Whiskers are 90% intervals, where `check` gave any and there are no more than 160 steps.
    Where a few steps would hide the others, the axis is logarithmic away from zero, unless ``linear``.
    Beyond 640 steps each slice of the axis shows its extreme steps, so nothing that stands out is lost.
    """

    schedule: bool = False
    height: int = 170
    linear: bool = False

    needs: ClassVar[tuple[Need, ...]] = (STEP_EFFECTS,)
    by_coordinate: ClassVar[bool] = True
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one panel for each behavior. ``by``: a family of stages or a coordinate that colors the steps."""
        demand(dataset, "a timeline", self.needs)
        effects = dataset["step_effect"]
        grouping = group_steps(dataset, by)
        names = behaviors(dataset)
        table, columns = step_table(dataset)
        known = {name: effects.sel(behavior=name).values.astype(float) for name in names}
        squeezed = {name: None if self.linear else compression(values) for name, values in known.items()}
        frames = {name: _bars_of(dataset, name, known[name], table, grouping) for name in names}
        thin, slices = _affordable(frames, columns, grouping)
        panels = [self._panel(dataset, name, thin[name], columns, grouping, squeezed[name]) for name in names]
        if self.schedule:
            panels += schedule_panels(dataset)[0]
        chart = stacked(panels)
        meaning = words.meaning(dataset, "above zero a step {good}, below it {bad}")
        steps = dataset.sizes["step"]
        thinned = f"{steps:,} steps: each of {slices} slices shows its extremes" if steps > slices else ""
        left_out = sum(column not in thin[names[0]] for column in columns)
        thinned += f"; {left_out} of {len(columns)} metadata are left out on hover" if left_out else ""
        lines = [*notes(dataset, meaning, "pale", thinned)]
        lines.append(words.sentence(compressed_in_words(squeezed, "; timeline(linear=true) draws lengths as they are")))
        if any(intervals(dataset, name) for name in names):
            lines.append(words.sentence("whiskers: 90% intervals, from exact answers on single steps"))
        if grouping.lacking:
            lines.append(words.sentence(f"gray: {grouping.title} was not recorded"))
        return theme.titled(
            dataset, chart, "effects of steps", f"Effect of every step on {words.quoted(names)}", *lines
        )

    def _panel(
        self,
        dataset: xr.Dataset,
        name: str,
        frame: pd.DataFrame,
        columns: dict[str, str],
        grouping: Grouping,
        squeezed: Compression | None,
    ) -> Any:
        steps, trust = dataset["step"].to_numpy(), step_trust(dataset, name)
        y = alt.Y("effect:Q", title=words.panel_axis(dataset, name), **(squeezed.channel if squeezed else {}))
        color = grouping.color(_legend(grouping))
        base = unrolled([listed(frame, **trust)], frame.columns).encode(x=step_axis(steps))
        hover = nearest_step(name)
        hidden = ["shown", *(["group"] if grouping.title in columns.values() else [])]
        told = frame.drop(columns=hidden, errors="ignore").assign(**trust)
        tips = tooltips(told, {"effect": "+.4~g"}, {**columns, "group": grouping.title})
        points = base.mark_point(style="mark", size=45, filled=True).encode(
            y="effect:Q", opacity=alt.condition(hover, alt.value(1), alt.value(0)), tooltip=tips
        )
        bars = _bars(base.encode(y=y, color=color), bar_width(len(steps)), pale=doubted(dataset, name))
        exact = band(dataset, name, grouping.stage_colors, NAMES_ABOVE if len(phase_starts(dataset)) else GAP)
        layers = [
            *bars,
            *_whiskers(base, frame),
            zero_line("y"),
            *phase_marks(dataset),
            *exact,
            points.add_params(hover),
        ]
        return alt.layer(*layers).properties(width=theme.WIDTH, height=self.height)


def _legend(grouping: Grouping) -> str:
    """Return the column that colors a step."""
    return "shown" if grouping.coloring.rest else "group"


def _bars_of(
    dataset: xr.Dataset, behavior: str, effects: np.ndarray, table: pd.DataFrame, grouping: Grouping
) -> pd.DataFrame:
    """Return one row a step: its effect, the ends of its interval where one is known, its group, its metadata."""
    frame = table.copy()
    frame.insert(1, "effect", effects)
    frame.insert(2, "group", grouping.values)
    frame[_legend(grouping)] = grouping.shown
    return frame.assign(**intervals(dataset, behavior))


def _affordable(
    frames: Mapping[str, pd.DataFrame], metadata: Iterable[str], grouping: Grouping
) -> tuple[dict[str, pd.DataFrame], int]:
    """Return the extreme rows of each frame, of slices as fine as a notebook affords, and how many slices there are.

    Where ``COARSE`` slices took more than half of that, they show the extremes of all colors together. The metadata
    that tell least are left out where there is no room for them.
    """

    def thin(slices: int, by: str | None, but: Sequence[str] = ()) -> dict[str, pd.DataFrame]:
        return {name: extremes(frame.drop(columns=[*but]), "effect", by, slices) for name, frame in frames.items()}

    by = None if grouping.is_number else _legend(grouping)
    sizes = _sizes(thin(COARSE, by))
    own = [column for column in sizes if column not in (metadata := [*metadata])]
    if by and sum(sizes[column] for column in own) > AFFORDED // 2:
        by = None
        sizes = _sizes(thin(COARSE, by))
    taken = np.cumsum([sum(sizes[column] for column in own), *(sizes[column] for column in metadata)])[1:]
    but = [column for column, size in zip(metadata, taken, strict=True) if size > AFFORDED]
    slices = affordable(lambda slices: sum(_sizes(thin(slices, by, but)).values()))
    return {name: frame.dropna(subset="effect") for name, frame in thin(slices, by, but).items()}, slices


def _sizes(frames: Mapping[str, pd.DataFrame]) -> dict[str, int]:
    """Return how many bytes each column of all frames takes."""
    every = pd.concat(frames.values(), ignore_index=True)
    return {name: len(json.dumps(values)) for name, values in listed(every).items()}


def _bars(base: Any, width: float, pale: bool) -> list[Any]:
    """Return bars from zero; pale ones keep their ends at full color, so that each can still be read."""
    receding = alt.condition(f"indexof({json.dumps(GRAY)}, datum.group) >= 0", alt.value(0.85), alt.value(1))
    if not pale:
        return [base.mark_rule(strokeWidth=width, invalid="show").encode(y2=alt.datum(0), opacity=receding)]
    body = base.mark_rule(strokeWidth=width, invalid="show").encode(y2=alt.datum(0), opacity=alt.value(PALE))
    return [body, base.mark_tick(orient="horizontal", size=width, thickness=2, invalid="show").encode(opacity=receding)]


def intervals(dataset: xr.Dataset, behavior: str) -> dict[str, np.ndarray]:
    """Return ``low`` and ``high`` ends of the effects of steps; nothing where none are known, or too many to draw."""
    if "step_effect_low" not in dataset or dataset.sizes["step"] > WHISKERS:
        return {}
    one = dataset[["step_effect_low", "step_effect_high"]].sel(behavior=behavior)
    ends = {end: one[f"step_effect_{end}"].to_numpy().astype(float) for end in ("low", "high")}
    return ends if np.isfinite(ends["low"]).any() else {}


def _whiskers(base: Any, frame: pd.DataFrame) -> list[Any]:
    if "low" not in frame:
        return []
    return [base.mark_rule(style="ink", strokeWidth=1).encode(y="low:Q", y2="high:Q")]


def nearest_step(name: str) -> Any:
    """Return the selection of the step nearest to the pointer; ``name`` tells the panels of one chart apart."""
    unique = f"hover_{name.encode().hex()}"
    return alt.selection_point(unique, on="pointerover", nearest=True, fields=["step"], empty=False, clear="pointerout")


def bar_width(steps: int) -> float:
    """Return the stroke width that leaves a little air between bars, enough to cover a pixel."""
    return float(np.clip(0.75 * theme.WIDTH / max(steps, 1), 1.25, 14.0))


def notes(dataset: xr.Dataset, meaning: str, doubtful: str, thinned: str) -> list[str]:
    """Return the lines under the title: the sign convention, the source of the numbers, doubt, what was left out.

    ``doubtful`` says how marks of low trust look, ``thinned`` what was left out, if anything.
    """
    first = words.sentence(meaning, words.step_provenance(dataset))
    doubt = words.sentence(words.own_scales(behaviors(dataset)), said(dataset, doubtful))
    return [first, doubt, words.sentence(thinned)]
