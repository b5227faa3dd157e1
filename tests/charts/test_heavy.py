"""A long run, many stages, behaviors and metadata: a notebook keeps little of a chart, and it says what it lacks."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr

from aadsl.charts import CHARTS, needs
from aadsl.charts.brushing import brushable
from aadsl.charts.bundle import lab_spec
from tests.charts.answers import heavy
from tests.charts.test_evidence import subtitle
from tests.charts.test_timeline import rows_of

BYTES = 300_000
DRAWN = {name: chart().draw for name, chart in CHARTS.items()} | {"brushable": brushable}
OVER_STEPS = {n for n, chart in CHARTS.items() if {needs.STEP_EFFECTS, needs.SCHEDULE} & {*chart.needs}} | {"brushable"}


@cache
def answered(scattered: bool) -> xr.Dataset:
    """Stages one after the other, or each of steps from all over the run."""
    data = heavy()
    if not scattered:
        return data
    stage = np.random.default_rng(0).integers(0, data.sizes["stage"], data.sizes["step"])
    return data.assign(member=(("stage", "step"), np.arange(data.sizes["stage"])[:, None] == stage))


@cache
def drawn(name: str, scattered: bool) -> Any:
    return DRAWN[name](answered(scattered))


CASES = [(name, scattered) for name in DRAWN for scattered in (False, True) if not scattered or name in OVER_STEPS]


@pytest.mark.parametrize(("name", "scattered"), CASES)
def test_a_notebook_keeps_no_more_than_300_kb_of_a_chart(name: str, scattered: bool) -> None:
    chart = drawn(name, scattered)
    assert len(json.dumps(lab_spec(chart))) <= BYTES
    assert ("slices" in subtitle(chart)) == (name in OVER_STEPS)


def test_what_is_left_out_is_counted() -> None:
    said = subtitle(drawn("timeline", True))
    assert "20,000 steps: each of " in said and " metadata are left out on hover" in said
    points = len([row for row in rows_of(drawn("cumulative", True)) if "sum" in row])
    assert f"{points:,} of " in subtitle(drawn("cumulative", True)) and "12 largest of 40" in subtitle(
        drawn("cumulative", True)
    )


@pytest.mark.parametrize("scattered", [False, True])
def test_what_stands_out_is_drawn(scattered: bool) -> None:
    data = answered(scattered)
    rows = [row for row in rows_of(drawn("timeline", scattered)) if "effect" in row]
    effects = data["step_effect"].to_numpy()
    for k, place in enumerate(effects.argmax(axis=0)):
        assert any(r["step"] == place and np.isclose(r["effect"], effects[place, k], rtol=1e-5) for r in rows)


@pytest.mark.parametrize("scattered", [False, True])
def test_lines_end_at_the_effects_of_their_stages(scattered: bool) -> None:
    data = answered(scattered)
    ends = data["member"].astype(float).dot(data["step_effect"])
    rows = [row for row in rows_of(drawn("cumulative", scattered)) if "sum" in row]
    last = [row for row in rows if row["step"] == data.sizes["step"] - 1]
    assert len(last) == 12 * data.sizes["behavior"]
    for row in last:
        assert np.isclose(ends.sel(stage=row["stage"]), row["sum"], rtol=1e-4, atol=1e-9).any()
