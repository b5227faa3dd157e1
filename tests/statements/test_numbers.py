"""A negative number looks the same in every text: its minus is as long as a plus."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from aadsl.statements.rank import listing
from aadsl.statements.shares import listed
from aadsl.statements.values import values_in_words
from aadsl.study.trust import Evidence, verdict
from jupyter_ext.answers import answer_text
from tests.charts.answers import answer

NEGATIVE = answer(behaviors=("loss",), shares=True).map(
    lambda values: values * 0 - 0.25 if values.dtype == float else values
)
RANKED = xr.Dataset(
    {
        "ranked": (("behavior", "rank"), [[7]]),
        "ranked_effect": (("behavior", "rank"), [[-1e-7]]),
        "ranked_exact": (("behavior", "rank"), [[True]]),
        "ranked_trust": (("behavior", "rank"), [["high"]]),
    },
    {"behavior": ["loss"], "rank": [1]},
)
SAID = {
    "rank": lambda: listing(RANKED, "step"),
    "shares": lambda: listed(with_intervals().sel(behavior="loss")),
    "values": lambda: values_in_words(NEGATIVE.assign(effect=NEGATIVE["effect"] - 1)),
    "trust": lambda: verdict(Evidence(-1.0, low=-2.0, high=-0.5, pairs=40))[1],
    "table": lambda: answer_text(NEGATIVE),
}


def with_intervals() -> xr.Dataset:
    cells = ("stage", "behavior")
    shape = NEGATIVE["effect"].shape
    return NEGATIVE.assign(exact=(cells, np.zeros(shape, bool)), trust=(cells, np.full(shape, "low")))


@pytest.mark.parametrize("name", SAID)
def test_minus_signs_are_alike(name: str) -> None:
    said = SAID[name]()
    assert "−" in said
    assert not [word for word in said.split() if word.startswith("-")]
