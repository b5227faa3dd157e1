"""Learning rate, momentum and loss over the steps: what the optimizer was doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.frame import step_variables, table_chart
from aadsl.charts.needs import SCHEDULE, Need
from aadsl.charts.phases import phase_marks
from aadsl.charts.thin import SLICES, affordable, outline
from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError

SHOWN = ("lr", "momentum", "loss")
POINTS = 4_000
"""Points of all strips together: a notebook keeps less than 100 kB of them."""
WORDS = {"lr": "learning rate", "momentum": "momentum", "loss": "loss"}


@checked
@dataclass(frozen=True)
class Schedule:
    """Learning rate, momentum and loss of every step, in strips under each other; ``height`` of one in pixels."""

    height: int = 60

    needs: ClassVar[tuple[Need, ...]] = (SCHEDULE,)
    by_coordinate: ClassVar[bool] = True
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one strip for each quantity that the run recorded. ``by`` is not used."""
        panels, thinned = schedule_panels(dataset, self.height)
        if not panels:
            known = ", ".join(step_variables(dataset)) or "none"
            raise AadslError(
                "this run recorded no learning rate, momentum or loss", hint=f"recorded for each step: {known}"
            )
        return theme.titled(
            dataset, stacked(panels), "no effects", "What the optimizer did at every step", words.sentence(thinned)
        )


def stacked(panels: list[Any]) -> Any:
    """Put panels over the same steps under each other; the lowest names the axis."""
    if len(panels) == 1:
        return panels[0]
    upper = [panel.copy() for panel in panels[:-1]]
    for panel in upper:
        for layer in panel.layer:
            if _names_steps(layer):
                layer.encoding.x.title = None
                # A new axis: what a channel of Altair hands out cannot be changed in place.
                layer.encoding.x.axis = alt.Axis(grid=False, labels=False)
    return alt.vconcat(*upper, panels[-1], spacing=10).resolve_scale(x="shared")


def _names_steps(layer: Any) -> bool:
    return isinstance(layer.encoding, alt.FacetedEncoding) and getattr(layer.encoding.x, "shorthand", "") == "step:Q"


def step_axis(steps: np.ndarray, title: str = "step") -> Any:
    """Return the encoding of the step axis, wide enough that the first and last bars are whole."""
    margin = 0.6 if len(steps) < SLICES else 0.0
    domain = [float(steps.min()) - margin, float(steps.max()) + margin]
    axis = alt.Axis(grid=False, tickMinStep=1, format=",d")
    return alt.X("step:Q", title=title, scale=alt.Scale(domain=domain, nice=False, zero=False), axis=axis)


def schedule_panels(dataset: xr.Dataset, height: int = 60) -> tuple[list[Any], str]:
    """Return one strip a quantity, and what is left out; parameter groups (``lr_0``, ``lr_1``) each get their own."""
    named = step_variables(dataset)
    chosen = [n for base in SHOWN for n in named if n == base or _group_of(n, base) is not None]
    chosen = [n for n in chosen if np.isfinite(dataset[n].values.astype(float)).any()]
    steps = dataset["step"].values
    lines = {n: pd.DataFrame({"step": steps, "value": dataset[n].values.astype(float)}).dropna() for n in chosen}
    slices = affordable(lambda slices: sum(len(outline(line, "value", slices)) for line in lines.values()), POINTS)
    drawn = {name: outline(line, "value", slices) for name, line in lines.items()}
    thinned = any(len(drawn[name]) < len(line) for name, line in lines.items())
    how = f"{len(steps):,} steps: each of {slices} slices of a line shows its ends and extremes" if thinned else ""
    return [_strip(dataset, name, frame, height) for name, frame in drawn.items()], how


def _strip(dataset: xr.Dataset, name: str, frame: pd.DataFrame, height: int) -> Any:
    label, values = _label(name), frame["value"]
    axis = alt.Axis(tickCount=3) if values.nunique() > 1 else alt.Axis(values=[float(values.iloc[0])])
    axis.format = "~g"
    y = alt.Y("value:Q", title=label.split(" "), scale=alt.Scale(zero=False), axis=axis)
    tips = [alt.Tooltip("step:Q"), alt.Tooltip("value:Q", title=label, format=".4~g")]
    shape = "linear" if name == "loss" else "step-after"
    line = table_chart(frame).mark_line(style="ink", strokeWidth=1.3, interpolate=shape)
    line = line.encode(x=step_axis(dataset["step"].values), y=y, tooltip=tips)
    boundaries = phase_marks(dataset)[:1]
    return alt.layer(line, *boundaries).properties(width=theme.WIDTH, height=height)


def _group_of(name: str, base: str) -> str | None:
    rest = name.removeprefix(f"{base}_")
    return rest if rest != name and rest.isdigit() else None


def _label(name: str) -> str:
    for base, said in WORDS.items():
        if name == base:
            return said
        if group := _group_of(name, base):
            return f"{said} {group}"
    return name
