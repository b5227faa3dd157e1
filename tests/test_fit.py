"""How well estimates follow exact numbers, by hand, and in words."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aadsl.core.fit import fit


@given(st.floats(0.1, 10), st.integers(0, 1000))
def test_fit_finds_the_slope_it_was_given(slope, seed):
    exact = np.random.default_rng(seed).normal(size=20)
    said = re.fullmatch(r"correlation (\S+), slope (\S+), relative error (\S+)", fit(slope * exact, exact).in_words())
    correlation, found, error = map(float, said.groups())
    # As near as the printed digits let them come; whether the last one is rounded up is left to the last bit.
    assert correlation == 1
    assert found == pytest.approx(slope, rel=0.0051)
    assert error == pytest.approx(abs(slope - 1), rel=0.051, abs=1e-12)


def test_fit_by_hand():
    assert fit(np.array([2.0, 1.0]), np.array([1.0, 2.0])).in_words() == "slope 0.8, relative error 0.63"
    assert "correlation −1.000" in fit(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])).in_words()
    assert fit(np.array([5.0, 1.0]), np.array([np.nan, 1.0])).in_words() == "slope 1, relative error 0"
    assert fit(np.ones(3), np.zeros(3)).in_words() == "no exact effect differs from zero"
