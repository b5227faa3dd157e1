"""Thinning keeps exactly what the eye could see; every kept row is a real step."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from aadsl.charts.thin import extremes, outline


@st.composite
def frames(draw):
    steps = draw(st.integers(1, 400))
    values = draw(st.lists(st.floats(-1e6, 1e6), min_size=steps, max_size=steps))
    groups = draw(st.lists(st.sampled_from("ab"), min_size=steps, max_size=steps))
    first = draw(st.integers(0, 1000))
    return pd.DataFrame({"step": np.arange(first, first + steps), "value": values, "group": groups})


def envelope(frame, slices, first, count):
    """What a screen of ``slices`` columns shows of bars from zero: the reach of every column and color."""
    column = (frame["step"] - first) * slices // count
    reach = frame.assign(column=column).groupby(["column", "group"])["value"].agg(["min", "max"])
    return {key: (min(0.0, low), max(0.0, high)) for key, low, high in reach.itertuples()}


@settings(max_examples=60, deadline=None)
@given(frames(), st.integers(1, 50))
def test_the_picture_is_the_same(frame, slices):
    thin = extremes(frame, "value", "group", slices=slices)
    first, count = frame["step"].iloc[0], len(frame)
    assert envelope(thin, slices, first, count) == envelope(frame, slices, first, count)
    pd.testing.assert_frame_equal(thin, frame.loc[thin.index])
    assert len(thin) <= max(slices, 4 * slices)
    assert thin["step"].is_monotonic_increasing


def test_averaging_would_be_caught():
    """The check above can fail: the mean of each slice, the usual shortcut, hides the one step that matters."""
    frame = pd.DataFrame({"step": np.arange(100), "value": np.r_[np.zeros(57), 9.0, np.zeros(42)], "group": "a"})
    means = frame.groupby(frame["step"] // 10).agg({"step": "first", "value": "mean", "group": "first"})
    assert envelope(means, 10, 0, 100) != envelope(frame, 10, 0, 100)
    assert envelope(extremes(frame, "value", slices=10), 10, 0, 100) == envelope(frame, 10, 0, 100)


@settings(max_examples=40, deadline=None)
@given(frames(), st.integers(1, 20))
def test_a_line_keeps_ends_and_extremes(frame, slices):
    thin = outline(frame, "value", slices=slices)
    assert thin["step"].iloc[0] == frame["step"].iloc[0]
    assert thin["step"].iloc[-1] == frame["step"].iloc[-1]
    assert thin["value"].min() == frame["value"].min()
    assert thin["value"].max() == frame["value"].max()
    assert len(thin) <= max(4 * slices, 4)


def test_missing_values_are_not_extreme():
    frame = pd.DataFrame({"step": np.arange(50), "value": np.r_[np.full(40, np.nan), np.arange(10.0)]})
    assert extremes(frame, "value", slices=5)["value"].tolist() == [0.0, 9.0]
