"""The exact effects of stages, written over their steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme
from aadsl.charts.answers import EXACT, answer_table
from aadsl.charts.frame import rows
from aadsl.charts.texts import LETTER, labels
from aadsl.charts.thin import SLICES
from aadsl.core.numbers import signed

MOST = 6
"""More exact effects than these are not written: their names would not fit."""
LANE = 18
THICK = 4


@dataclass(frozen=True)
class ExactEffect:
    """The exact effect of one stage in words, and the stretches of steps, from first to after the last, it is of."""

    stage: str
    label: str
    stretches: tuple[tuple[float, float], ...]


def exact_effects(dataset: xr.Dataset, behavior: str, stages: list[str]) -> list[ExactEffect]:
    """Return what is known exactly of the effects of ``stages`` on ``behavior``; nothing if it is known of too many."""
    answered = "member" in dataset and not {"effect", "retrained_effect"}.isdisjoint(dataset)
    if not answered:
        return []
    table = answer_table(dataset.sel(behavior=[behavior]))
    known = table["retrained"].notna() if "retrained" in table else table["how"] == EXACT
    table = table[known & table["stage"].isin(stages)]
    if len(table) > MOST:
        return []
    steps = dataset["step"].to_numpy()
    found = []
    names = labels(stages)
    for stage, best, mark in zip(table["stage"], table["best"], table["mark"], strict=True):
        label = f"{names[stage]}: exact {signed(best)}{f', {mark}' if mark else ''}"
        found.append(ExactEffect(stage, label, _stretches(steps, dataset["member"].sel(stage=stage).to_numpy())))
    return [one for one in found if one.stretches]


def band(dataset: xr.Dataset, behavior: str, colors: Mapping[str, str], lift: int) -> list[Any]:
    """Return the layers that draw a band over the steps of each stage of ``colors``, ``lift`` pixels over the panel."""
    steps = dataset["step"].to_numpy()
    first, letter = steps.min() - 0.5, LETTER / theme.WIDTH * (np.ptp(steps) + 1)
    last = steps.max() + 0.5
    layers = []
    for lane, members in enumerate(_lanes(exact_effects(dataset, behavior, list(colors)), letter, last)):
        low = -lift - lane * LANE
        bars = pd.DataFrame(
            [
                {"from": start, "to": end, "label": one.label, "color": colors[one.stage]}
                for one in members
                for start, end in one.stretches
            ]
        )
        places = [max(first, _start(one, letter, last)) for one in members]
        labels = pd.DataFrame({"from": places, "label": [one.label for one in members]})
        text = alt.Chart(rows(labels)).mark_text(align="left", baseline="bottom", fontSize=11)
        layers += [
            alt.Chart(rows(bars))
            .mark_rect()
            .encode(
                x="from:Q",
                x2="to:Q",
                y=alt.value(low - THICK),
                y2=alt.value(low),
                color=alt.Color("color:N", scale=None),
                tooltip=["label:N"],
            ),
            text.encode(x="from:Q", y=alt.value(low - THICK - 1), text="label:N"),
        ]
    return layers


def _lanes(known: list[ExactEffect], letter: float, last: float) -> list[list[ExactEffect]]:
    """Share the stages out to lanes that keep bands and labels apart; ``letter`` is the width of one, in steps."""
    lanes: list[list[ExactEffect]] = []
    ends: list[float] = []
    for one in sorted(known, key=lambda one: _start(one, letter, last)):
        start = _start(one, letter, last)
        lane = next((lane for lane, end in enumerate(ends) if end <= start), len(ends))
        ends[lane : lane + 1] = [max(one.stretches[-1][1], start + letter * (len(one.label) + 2))]
        lanes[lane : lane + 1] = [[*(lanes[lane] if lane < len(lanes) else []), one]]
    return lanes


def _start(one: ExactEffect, letter: float, last: float) -> float:
    """Return where the label begins: with the stage, or early enough to end with the axis."""
    return min(one.stretches[0][0], last - letter * len(one.label))


def _stretches(steps: np.ndarray, member: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return the stretches of neighboring steps that belong to a stage; those too near to be seen apart become one."""
    chosen = steps[member.astype(bool)].astype(float)
    if not len(chosen):
        return ()
    cut = np.flatnonzero(np.diff(chosen) > max(1, (np.ptp(steps) + 1) / SLICES))
    starts, ends = chosen[np.r_[0, cut + 1]] - 0.5, chosen[np.r_[cut, len(chosen) - 1]] + 0.5
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))
