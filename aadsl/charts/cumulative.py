"""The effect that each stage has gathered, step after step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.coloring import Coloring, colored, furthest
from aadsl.charts.doubt import doubted, step_trust
from aadsl.charts.frame import behaviors, name_legend, rows, zero_line
from aadsl.charts.grouping import colored_stages
from aadsl.charts.needs import MEMBERS, STEP_EFFECTS, Need, demand
from aadsl.charts.phases import phase_marks
from aadsl.charts.schedule import stacked, step_axis
from aadsl.charts.thin import outline
from aadsl.charts.timeline import notes
from aadsl.core.arguments import checked

LINES = 12


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
        names = colored_stages(dataset, by)
        sums = (
            (dataset["member"] * dataset["step_effect"].fillna(0))
            .cumsum("step")
            .transpose("stage", "step", "behavior")
            .sel(stage=names)
        )
        sums = sums.isel(stage=furthest(sums.isel(step=-1).values, LINES))
        coloring = colored([str(stage) for stage in sums["stage"].values], sums.isel(step=-1).values)
        panels = [self._panel(dataset, name, sums.sel(behavior=name), coloring) for name in behaviors(dataset)]
        dropped = len(names) - sums.sizes["stage"]
        few = f"the {LINES} largest of {len(names)} stages" if dropped else ""
        meaning = words.meaning(dataset, "rising: the steps {good}, falling: they {bad}")
        title = f"Effect gathered by each stage on {words.quoted(behaviors(dataset))}"
        return theme.titled(dataset, stacked(panels), title, *notes(dataset, meaning, "dashed"), words.sentence(few))

    def _panel(self, dataset: xr.Dataset, behavior: str, sums: xr.DataArray, coloring: Coloring) -> Any:
        steps = dataset["step"].values
        parts = [
            outline(pd.DataFrame({"step": steps, "stage": str(stage), "sum": sums.sel(stage=stage).values}), "sum")
            for stage in sums["stage"].values
        ]
        trust = step_trust(dataset, behavior)
        frame = pd.concat(parts, ignore_index=True).assign(**trust)
        legend = "shown" if coloring.rest else "stage"
        frame[legend] = [coloring.shown(stage) for stage in frame["stage"]]
        scale = alt.Scale(domain=list(coloring.colors), range=list(coloring.colors.values()))
        line = alt.Chart(rows(frame)).mark_line(interpolate="step-after", **_look(doubted(dataset, behavior)))
        line = line.encode(
            x=step_axis(steps),
            y=alt.Y("sum:Q", title=words.panel_axis(dataset, behavior, "effect so far")),
            color=alt.Color(f"{legend}:N", scale=scale, title="stage", legend=name_legend(coloring.colors)),
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


def _look(doubtful: bool) -> dict[str, Any]:
    """Return how a line is drawn: of low trust, thin and dashed."""
    return {"strokeWidth": 1.5, "strokeDash": [5, 2]} if doubtful else {"strokeWidth": 2}
