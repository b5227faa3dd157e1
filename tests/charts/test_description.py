"""Charts in words, for those who cannot see them: what they show, and the extremes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from aadsl.charts import CHARTS, needs
from aadsl.charts.bundle import lab_spec, mimebundle
from aadsl.charts.texts import shown
from tests.charts.answers import answer

DATA = answer(verified=True, examples=6, shares=True)


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_has_a_description(name: str) -> None:
    chart = CHARTS[name]().draw(DATA)
    description = lab_spec(chart)["description"]
    title = chart.to_dict()["title"]
    assert description.startswith(title["text"] if isinstance(title, dict) else title)
    assert mimebundle(chart)["text/plain"] == f"[chart] {description}"


def told(description: str) -> set[str]:
    return set(re.findall(r"(?:Effect|Share) of a (?:stage|step)", description))


@pytest.mark.parametrize("name", CHARTS)
def test_it_tells_the_extremes_of_what_the_chart_draws_and_of_nothing_else(name: str) -> None:
    kinds = {needs.STEP_EFFECTS: "Effect of a step", needs.SHARES: "Share of a stage", needs.SCHEDULE: ""}
    kind = next((kinds[need] for need in CHARTS[name].needs if need in kinds), "Effect of a stage")
    assert told(CHARTS[name]().draw(DATA).to_dict()["description"]) == ({kind} if kind else set())


@pytest.mark.parametrize("name", [n for n, chart in CHARTS.items() if needs.STEP_EFFECTS not in chart.needs])
def test_only_stages_that_are_drawn_are_told(name: str) -> None:
    description = CHARTS[name]().draw(DATA, by="source").to_dict()["description"]
    stages = re.findall(r"(?:largest|smallest), stage ([^;.]+)[;.]", description)
    assert set(stages) <= {"source[badnet]", "source[clean]"} and bool(stages) == (name != "schedule")


def test_names_are_told_as_they_are_shown() -> None:
    odd = "x\x1b" + "é" * 20_000 + "end"
    data = answer(behaviors=("backdoor",)).assign_coords(behavior=[odd], stage=[odd, "b", "c", "d"])
    description = CHARTS["bars"]().draw(data).to_dict()["description"]
    assert (
        f"Effect of a stage on {shown(odd)}:" in description and "\x1b" not in description.partition("Effect of a")[2]
    )
    assert len(description) < 2_000


def test_it_tells_the_extremes() -> None:
    data = answer(steps=60, behaviors=("backdoor",), phases=1)
    description = CHARTS["timeline"]().draw(data).to_dict()["description"]
    effects = data["step_effect"].values[:, 0]
    largest, smallest = re.search(
        r"Effect of a step on backdoor: (\S+) largest, step \d+; (\S+) smallest, step \d+\.", description
    ).groups()
    values = [float(text.replace("−", "-")) for text in (largest, smallest)]
    np.testing.assert_allclose(values, [effects.max(), effects.min()], rtol=5e-3)
    assert f"step {effects.argmax()};" in description and f"step {effects.argmin()}." in description


def test_many_behaviors_are_counted_and_nothing_known_is_left_out() -> None:
    description = CHARTS["heatmap"]().draw(answer(behaviors=tuple("abcde"))).to_dict()["description"]
    assert "Effect of a stage on c" in description and "2 more behaviors are shown." in description
    data = answer()
    data["step_effect"][:, 0] = np.nan
    description = CHARTS["timeline"]().draw(data).to_dict()["description"]
    assert "Effect of a step on digits" in description and "Effect of a step on backdoor" not in description
