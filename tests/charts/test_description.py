"""Charts in words, for those who cannot see them: what they show, and the extremes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from aadsl.charts import CHARTS
from aadsl.charts.bundle import lab_spec, mimebundle
from tests.charts.answers import answer

DATA = answer(verified=True, examples=6, shares=True)


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_has_a_description(name: str) -> None:
    chart = CHARTS[name]().draw(DATA)
    description = lab_spec(chart)["description"]
    title = chart.to_dict()["title"]
    assert description.startswith(title["text"] if isinstance(title, dict) else title)
    assert mimebundle(chart)["text/plain"] == f"[chart] {description}"


def test_it_tells_the_extremes() -> None:
    data = answer(steps=60, behaviors=("backdoor",), phases=1)
    description = CHARTS["timeline"]().draw(data).to_dict()["description"]
    effects = data["step_effect"].values[:, 0]
    largest, smallest = re.search(
        r"Effect of a step on backdoor: (\S+) largest, step \d+; (\S+) smallest, step \d+\.", description
    ).groups()
    told = [float(text.replace("−", "-")) for text in (largest, smallest)]
    np.testing.assert_allclose(told, [effects.max(), effects.min()], rtol=5e-3)
    assert f"step {effects.argmax()};" in description and f"step {effects.argmin()}." in description


def test_many_behaviors_are_counted_and_nothing_known_is_left_out() -> None:
    description = CHARTS["heatmap"]().draw(answer(behaviors=tuple("abcde"))).to_dict()["description"]
    assert "Effect of a stage on c" in description and "2 more behaviors are shown." in description
    data = answer(behaviors=("a",))
    data["step_effect"][:] = np.nan
    assert "Effect of a step" not in CHARTS["bars"]().draw(data).to_dict()["description"]
