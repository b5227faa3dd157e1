import numpy as np
import pytest
import vl_convert

from aadsl.charts import CHARTS, theme
from aadsl.charts.export import svg
from aadsl.charts.frame import step_table
from aadsl.core.errors import AadslError
from tests.charts.answers import answer


def rows_of(chart):
    """Every inline row of a chart, whichever layer holds it; rows that are listed by column among them."""
    found = [row for data in chart.to_dict().get("datasets", {}).values() for row in data]
    return [one for row in found for one in unrolled(row)]


def unrolled(row):
    """The rows that Vega makes of one whose columns are lists."""
    lists = {name: values for name, values in row.items() if isinstance(values, list)}
    return [row | dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True)] if lists else [row]


def bars_of(dataset, by=None):
    return [row for row in rows_of(CHARTS["timeline"]().draw(dataset, by)) if "effect" in row]


def test_every_step_is_one_bar_with_its_metadata():
    data = answer(steps=60, behaviors=("backdoor",), phases=1)
    rows = bars_of(data)
    assert [row["step"] for row in rows] == list(range(60))
    np.testing.assert_allclose([r["effect"] for r in rows], data["step_effect"].values[:, 0], rtol=1e-5)
    (column,) = (column for column, name in step_table(data)[1].items() if name == "tag")
    assert [row[column] for row in rows] == data["tag"].values.tolist()
    svg = vl_convert.vegalite_to_svg(CHARTS["timeline"]().draw(data).to_dict())
    assert svg.count('aria-roledescription="rule mark"') == 60


def test_stages_color_their_steps():
    rows = bars_of(answer(steps=60, behaviors=("backdoor",)))
    groups = {row["step"]: row["group"] for row in rows}
    assert groups[3] == "warmup"
    assert groups[35] == "poisoned"
    assert groups[50] == "no stage"


@pytest.mark.parametrize(("by", "expected"), [("source", "badnet"), ("tag", "badnet"), ("epoch", 2)])
def test_by_a_family_or_a_coordinate(by, expected):
    rows = bars_of(answer(steps=60, behaviors=("backdoor",)), by)
    assert {row["step"]: row["group"] for row in rows}[35] == expected


def test_by_something_unknown_names_what_there_is():
    with pytest.raises(AadslError, match=r'did you mean "source"\?.*epoch'):
        CHARTS["timeline"]().draw(answer(), by="sorce")


def test_overlapping_stages_share_a_color_of_their_own():
    data = answer(steps=60, behaviors=("backdoor",))
    data["member"][1] = True  # warmup is now the whole run
    assert {row["group"] for row in bars_of(data)} == {"warmup", "poisoned & warmup"}


def test_a_hundred_thousand_steps_stay_small_and_keep_the_outlier():
    data = answer(steps=100_000, behaviors=("backdoor",))
    data["step_effect"][77_777] = -3.0
    chart = CHARTS["timeline"]().draw(data)
    rows = [row for row in rows_of(chart) if "effect" in row]
    assert len(rows) < 640 * 2 * 3
    assert min(rows, key=lambda row: row["effect"])["step"] == 77_777
    assert "100,000 steps" in " ".join(chart.to_dict()["title"]["subtitle"])


def test_phases_are_marked_where_they_start():
    rows = [row for row in rows_of(CHARTS["timeline"]().draw(answer(steps=60, phases=3))) if "at" in row]
    assert {(row["at"], row["phase"]) for row in rows} == {(-0.5, "part 0"), (19.5, "part 1"), (39.5, "part 2")}
    assert not [row for row in rows_of(CHARTS["timeline"]().draw(answer(phases=1))) if "at" in row]


def test_axis_says_unit_and_sign():
    text = str(CHARTS["timeline"]().draw(answer()).to_dict())
    assert "hurt  ←  effect in nats  →  helped" in text


def test_needs_step_effects():
    with pytest.raises(AadslError, match="first_order"):
        CHARTS["timeline"]().draw(answer().drop_vars("step_effect"))


def test_schedule_lies_on_the_same_axis():
    spec = CHARTS["timeline"](schedule=True).draw(answer()).to_dict()
    assert spec["resolve"]["scale"]["x"] == "shared"
    assert len(spec["vconcat"]) == 2 + 3


def test_what_only_a_replay_needs_is_not_in_the_hover():
    data = answer(steps=50).assign_coords(phase_boundary=("step", np.arange(50) % 2))
    assert "phase_boundary" not in str(CHARTS["timeline"]().draw(data).to_dict())
    by_it = CHARTS["timeline"]().draw(data, by="phase_boundary")  # but who asks for it gets it
    assert "phase_boundary" in str(by_it.to_dict())


@pytest.mark.parametrize("name", ["timeline", "cumulative"])
def test_panels_under_each_other_share_the_numbers_of_their_axis(name):
    svg = vl_convert.vegalite_to_svg(CHARTS[name]().draw(answer(steps=60, exact=2)).to_dict())
    assert svg.count(">40</text>") == svg.count(">step</text>") == 1


def test_whiskers_are_the_intervals_of_steps_where_they_are_known():
    data = answer(behaviors=("backdoor", "digits"))
    low = data["step_effect"] - 0.02
    ends = {"step_effect_low": low.where(low["behavior"] == "digits"), "step_effect_high": low + 0.05}
    bars = bars_of(data.assign(ends))
    told = [row for row in bars if row.get("low") is not None]
    assert [row["low"] for row in told] == pytest.approx(low.sel(behavior="digits").values.tolist(), rel=1e-4)
    assert all(row["low"] < row["effect"] < row["high"] for row in told) and len(bars) == 2 * len(told)
    draw = CHARTS["timeline"]().draw
    assert "Whiskers: 90% intervals" in str(draw(data.assign(ends)).to_dict()["title"])
    assert "hiskers" not in str(draw(data).to_dict()["title"])
    long = answer(steps=500)
    long = long.assign(step_effect_low=long["step_effect"] - 1, step_effect_high=long["step_effect"] + 1)
    assert "hiskers" not in str(draw(long).to_dict()["title"])


@pytest.mark.parametrize("kind", ["numbers", "no numbers", "texts"])
def test_steps_of_which_a_coordinate_was_not_recorded_are_gray(kind: str) -> None:
    data = answer(steps=60, behaviors=("backdoor",), phases=1)
    steps = np.arange(data.sizes["step"])
    lacking = steps % 3 == 0 if kind != "no numbers" else np.ones(len(steps), dtype=bool)
    told = np.where(lacking, "", "told") if kind == "texts" else np.where(lacking, np.nan, steps)
    chart = CHARTS["timeline"]().draw(data.assign_coords(some=("step", told)), by="some")
    picture = svg(chart)
    bars = [part for part in picture.split("<line") if part.startswith(' aria-label="step:')]
    assert len(bars) == len(steps), "no bar is lost"
    assert sum(f'stroke="{theme.NEITHER}"' in bar for bar in bars) == lacking.sum()
    assert "not recorded" in picture
