"""A few very large effects do not hide the others, what is done about it is said, and can be turned off."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aadsl.charts import CHARTS
from aadsl.charts.brushing import brushable
from aadsl.charts.compression import compression
from aadsl.charts.export import svg
from tests.charts.answers import answer
from tests.charts.test_evidence import subtitle

DRAWN = {"timeline": lambda data, linear=False: CHARTS["timeline"](linear=linear).draw(data), "brushable": brushable}
SAID = "logarithmic away from zero"


def with_outlier(times):
    """Steps of which one is so many times as large as the largest other."""
    data = answer(steps=60, behaviors=("backdoor",), phases=1)
    data["step_effect"][20] = -times * abs(data["step_effect"]).max()
    return data


def lengths(chart):
    """The length of each bar in pixels, off the picture."""
    bars = re.findall(
        r'<line aria-label="[^"]*"[^>]*? y2="(-?[0-9.]+)"[^>]*', svg(chart).replace("transform", "\ntransform")
    )
    return np.abs(np.array(bars, dtype=float))


@pytest.mark.parametrize("name", DRAWN)
def test_one_step_a_thousand_times_the_others_does_not_hide_them(name):
    data = with_outlier(1000)
    sizes = abs(data["step_effect"].values[:, 0])
    drawn, linear = lengths(DRAWN[name](data)), lengths(DRAWN[name](data, linear=True))
    assert len(drawn) == len(linear) == len(sizes)
    assert np.median(linear) < 0.1 < 3 < np.median(drawn)
    assert (np.argsort(drawn) == np.argsort(sizes)).all(), "what is longer is larger"
    assert drawn.max() > 80
    assert SAID in subtitle(DRAWN[name](data)) and SAID not in subtitle(DRAWN[name](data, linear=True))


@pytest.mark.parametrize("name", DRAWN)
def test_lengths_are_as_they_are_where_no_step_stands_alone(name):
    data = with_outlier(5)
    assert SAID not in subtitle(DRAWN[name](data)) and "symlog" not in str(DRAWN[name](data).to_dict())
    np.testing.assert_allclose(lengths(DRAWN[name](data)), lengths(DRAWN[name](data, linear=True)))


def test_it_is_said_of_the_behavior_it_is_about_and_how_to_turn_it_off():
    data = answer(steps=60)
    data["step_effect"][5, 1] = 1e6
    said = subtitle(CHARTS["timeline"]().draw(data))
    assert 'The axis of "digits" is logarithmic' in said and "timeline(linear=true)" in said


@given(st.integers(-12, 12), st.sampled_from([-1, 1, 0]), st.floats(31, 1e9))
def test_the_numbers_on_the_axis_are_powers_of_ten_of_what_is_drawn(power, side, times):
    values = np.linspace(-1, 1, 40) * 10.0**power
    values[7], values[9] = (values.max() * times * end for end in ((side or 1), -(side or 1) if side == 0 else 0))
    found = compression(values)
    assert found is not None and 0 < found.constant < 10.0**power
    ticks = np.array(found.ticks)
    assert (np.diff(ticks) > 0).all() and 0 in ticks and 2 <= len(ticks) <= 7
    assert values.min() <= ticks[0] and ticks[-1] <= values.max()
    powers = np.log10(np.abs(ticks[ticks != 0]))
    np.testing.assert_allclose(powers, np.round(powers), atol=1e-6)


def test_few_steps_and_those_without_effect_have_no_outliers():
    assert compression(np.r_[np.ones(8), 1e6]) is None and compression(np.r_[np.ones(9), 1e6]) is not None
    assert compression(np.zeros(50)) is None and compression(np.full(50, np.nan)) is None
    assert compression(np.r_[np.zeros(50), np.ones(8), 1e6]) is None
