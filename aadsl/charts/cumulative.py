"""The effect that each stage has gathered, step after step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.coloring import Coloring, colored, furthest
from aadsl.charts.doubt import doubted, step_trust
from aadsl.charts.frame import behaviors, listed, unrolled, zero_line
from aadsl.charts.grouping import colored_stages
from aadsl.charts.needs import MEMBERS, STEP_EFFECTS, Need, demand
from aadsl.charts.phases import phase_marks
from aadsl.charts.schedule import stacked, step_axis
from aadsl.charts.thin import affordable, outline
from aadsl.charts.timeline import notes
from aadsl.core.arguments import checked

LINES = 12
POINTS = 10_000
"""Points of all lines together: a notebook keeps less than 300 kB of them."""


@checked
@dataclass(frozen=True)
class Cumulative:
    """One line a stage: the sum of its steps' effects so far. It ends at the first-order estimate of the whole stage.

    Dashed lines are of low trust. ``height`` is that of one panel in pixels. More than 12 stages: those with the
    largest effects are drawn.
    """

    height: int = 190

    needs: ClassVar[tuple[Need, ...]] = (STEP_EFFECTS, MEMBERS)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one panel for each behavior. ``by``: draw the members of this family of stages."""
        demand(dataset, "a cumulative timeline", self.needs)
        every, names = colored_stages(dataset, by), behaviors(dataset)
        effects = dataset["step_effect"].transpose("behavior", "step").fillna(0).to_numpy()
        member = dataset["member"].sel(stage=every).transpose("stage", "step").to_numpy().astype(bool)
        chosen = furthest(member @ effects.T, LINES)
        stages, member = [every[k] for k in chosen], member[chosen]
        coloring = colored(stages, member @ effects.T)
        lines = {name: [_line(dataset, one, each) for each in member] for name, one in zip(names, effects, strict=True)}
        drawn, thinned = _affordable(lines)
        panels = [self._panel(dataset, name, dict(zip(stages, drawn[name], strict=True)), coloring) for name in names]
        few = f"the {LINES} largest of {len(every)} stages" if len(stages) < len(every) else ""
        meaning = words.meaning(dataset, "rising: the steps {good}, falling: they {bad}")
        title = f"Effect gathered by each stage on {words.quoted(names)}"
        said = notes(dataset, meaning, "dashed", thinned)
        return theme.titled(dataset, stacked(panels), "effects of steps", title, *said, words.sentence(few))

    def _panel(self, dataset: xr.Dataset, behavior: str, lines: Mapping[str, pd.DataFrame], coloring: Coloring) -> Any:
        trust = step_trust(dataset, behavior)
        legend = "shown" if coloring.rest else "stage"
        parts = [
            listed(line, **{"stage": stage, legend: coloring.shown(stage)}, **trust) for stage, line in lines.items()
        ]
        scale = alt.Scale(domain=list(coloring.colors), range=list(coloring.colors.values()))
        line = unrolled(parts, ["step", "sum"]).mark_line(interpolate="step-after", **_look(doubted(dataset, behavior)))
        line = line.encode(
            x=step_axis(dataset["step"].to_numpy()),
            y=alt.Y("sum:Q", title=words.panel_axis(dataset, behavior, "effect so far")),
            color=alt.Color(f"{legend}:N", scale=scale, title="stage", legend=theme.name_legend(coloring.colors)),
            detail="stage:N",
            tooltip=[
                "stage:N",
                "step:Q",
                alt.Tooltip("sum:Q", title="effect so far", format="+.4~g"),
                *(f"{name}:N" for name in trust),
            ],
        )
        zero = zero_line("y")
        layers = [line, zero, *phase_marks(dataset)]
        return alt.layer(*layers).properties(width=theme.WIDTH, height=self.height)


def _line(dataset: xr.Dataset, effects: np.ndarray, member: np.ndarray) -> pd.DataFrame:
    """Return ``step`` and ``sum``, the effects of a stage's steps up to there, where that changes and at both ends."""
    sums = np.cumsum(np.where(member, effects, 0.0))
    changes = np.r_[True, sums[1:] != sums[:-1]]
    changes[-1] = True
    return pd.DataFrame({"step": dataset["step"].to_numpy()[changes], "sum": sums[changes]})


def _affordable(lines: Mapping[str, list[pd.DataFrame]]) -> tuple[dict[str, list[pd.DataFrame]], str]:
    """Return the lines of each behavior with no more than ``POINTS`` points together, and what is left out."""

    def thin(slices: int) -> dict[str, list[pd.DataFrame]]:
        return {name: [outline(line, "sum", slices) for line in panel] for name, panel in lines.items()}

    def points(drawn: Mapping[str, list[pd.DataFrame]]) -> int:
        return sum(len(line) for panel in drawn.values() for line in panel)

    slices = affordable(lambda slices: points(thin(slices)), POINTS, fewest=2)
    drawn, every = thin(slices), points(lines)
    how = f"each of {slices} slices of a line shows its ends and extremes"
    return drawn, f"{points(drawn):,} of {every:,} points are drawn: {how}" if points(drawn) < every else ""


def _look(doubtful: bool) -> dict[str, Any]:
    """Return how a line is drawn: of low trust, thin and dashed."""
    return {"strokeWidth": 1.5, "strokeDash": [5, 2]} if doubtful else {"strokeWidth": 2}
