import re

import numpy as np
import pytest
import vl_convert

from aadsl.charts import CHARTS
from aadsl.charts.answers import answer_table
from aadsl.charts.export import svg
from aadsl.charts.theme import HELPED, HURT
from aadsl.core.errors import AadslError
from tests.charts.answers import answer
from tests.charts.test_evidence import subtitle
from tests.charts.test_timeline import rows_of


def test_every_answer_is_a_bar():
    data = answer()
    rows = rows_of(CHARTS["bars"]().draw(data))
    drawn = {(row["stage"], row["behavior"]): row["effect"] for row in rows if row}
    for stage in data["stage"].values:
        for behavior in data["behavior"].values:
            expected = float(data["effect"].sel(stage=stage, behavior=behavior))
            assert drawn[stage, behavior] == pytest.approx(expected, rel=1e-5)


def test_spread_is_the_middle_of_the_examples():
    data = answer(examples=101)
    data["example_effect"][0, 0] = np.arange(101.0)
    row = answer_table(data).iloc[0]
    assert (row["spread_low"], row["spread_high"]) == (10.0, 90.0)


def test_spread_of_padded_examples_ignores_the_padding():
    data = answer(examples=200)
    data["example_effect"][0, 0] = np.r_[np.arange(101.0), np.full(99, np.nan)]
    data["example_effect"][0, 1] = np.nan
    table = answer_table(data)
    assert (table["spread_low"][0], table["spread_high"][0]) == (10.0, 90.0)
    assert np.isnan(table["spread_low"][1])


def test_low_trust_is_said():
    text = str(CHARTS["bars"]().draw(answer(trust=True)).to_dict())
    assert "low trust" in text
    assert "curvatures differ" in text
    assert "low trust" not in str(CHARTS["bars"]().draw(answer()).to_dict())


def test_exact_answers_are_marked_or_drawn_alone():
    data = answer(verified=True)
    assert "diamond" in str(CHARTS["bars"]().draw(data).to_dict()).lower()
    exact = data.drop_vars(["effect", "step_effect"])
    np.testing.assert_allclose(answer_table(exact)["effect"], data["retrained_effect"].values.ravel())


def test_a_bar_ends_at_what_is_known_best_and_its_color_agrees_with_its_side():
    """Estimates of the wrong sign: the truth is the bar, off the picture, and the estimate a mark beside it."""
    data = answer(behaviors=("backdoor",), verified=True)
    estimates, exact = [0.1, -0.1, 0.3, np.nan], [-0.2, 0.1, np.nan, 0.2]
    data["effect"][:, 0], data["retrained_effect"][:, 0] = estimates, exact
    drawn = svg(CHARTS["bars"]().draw(data))
    bars = re.findall(r'"bar" d="M([\d.]+),[\d.]+h([\d.]+)v[^"]*" fill="([^"]+)" fill-opacity="([\d.]+)"', drawn)
    starts, widths = (np.array([float(bar[k]) for bar in bars]) for k in (0, 1))
    zero = starts[1]
    sides = np.where(starts < zero - 1, -1, 1)
    np.testing.assert_allclose(sides * widths / widths[1] * exact[1], [-0.2, 0.1, 0.3, 0.2], atol=1e-9)
    assert [bar[2] for bar in bars] == [HURT, HELPED, HELPED, HELPED]
    assert [float(bar[3]) for bar in bars] == [0.95, 0.95, 0.2, 0.95]  # the third is an estimate alone
    points = [float(x) for x in re.findall(r'"point" transform="translate\(([\d.]+),', drawn)]
    np.testing.assert_allclose((np.array(points) - zero) / widths[1] * exact[1], [0.1, -0.1], atol=1e-9)
    said = subtitle(CHARTS["bars"]().draw(data))
    for words in ("Solid: exact", "outlined: estimate", "diamond: the estimate beside it"):
        assert words in said


@pytest.mark.parametrize("column", ["effect", "effect_high"])
def test_a_stage_far_larger_than_the_others_does_not_hide_them(column):
    """By its effect, or by the interval of that."""
    data = answer(behaviors=("backdoor",), exact=0)
    data["effect"][:, 0] = [1.0, 0.5, -0.8, 0.2]
    data = data.assign(effect_low=data["effect"] - 0.1, effect_high=data["effect"] + 0.1)
    assert "symlog" not in str(CHARTS["bars"]().draw(data).to_dict())
    data[column][0, 0] = 100.0
    shown, linear = CHARTS["bars"]().draw(data), CHARTS["bars"](linear=True).draw(data)
    smallest, even = (
        min(float(width) for width in re.findall(r'"bar" d="M[\d.]+,[\d.]+h([\d.]+)v', svg(chart)))
        for chart in (shown, linear)
    )
    assert even < 2 < 20 < smallest
    said = "logarithmic away from zero, since a few stages are over 30 times as large as most; bars(linear=true)"
    assert said in subtitle(shown) and said not in subtitle(linear)


def test_numbers_on_axes_have_one_minus_sign():
    data = answer(behaviors=("backdoor",)).assign_coords(stage=["e-1", "e-2", "e-3", "e-4"])
    data["effect"][:, 0] = [1e-14, -2e-14, 3e-14, 1e-15]
    told = re.findall(r">([^<]*e[-−]\d+)</text>", svg(CHARTS["bars"]().draw(data)))
    assert "−2e−14" in told and not [text for text in told if "-" in text and text not in data["stage"].values]
    assert "e-1" in told, "names stay as they are"


def test_one_family():
    assert set(answer_table(answer(), by="source")["stage"]) == {"source[badnet]", "source[clean]"}
    with pytest.raises(AadslError, match='did you mean "source"'):
        answer_table(answer(), by="sources")


def test_less_of_a_loss_is_better():
    """The sign of an effect is that of the behavior; which side helped depends on the behavior."""
    data = answer(behaviors=("loss",)).assign(higher_is_better=("behavior", [False]))
    spec = str(CHARTS["bars"]().draw(data).to_dict())
    assert "helped  ←  effect in nats  →  hurt" in spec
    assert "To the right a stage hurt, to the left it helped" in spec
    cells = rows_of(CHARTS["heatmap"]().draw(data))
    assert all(row["share"] * row["effect"] <= 0 for row in cells)
    mixed = answer().assign(higher_is_better=("behavior", [True, False]))
    assert "The axes say which side helped" in str(CHARTS["timeline"]().draw(mixed).to_dict())


def test_sorted_bars_are_in_the_order_of_what_is_known_of_their_effects():
    """Also where a bar has other marks beside it: the order is read off the picture."""
    data = answer(behaviors=("backdoor",), verified=True, examples=20)
    data["retrained_effect"][:, 0] = [0.1, -0.2, 0.3, 0.2]
    stages = data["stage"].values
    for sort, order in ((True, [2, 3, 0, 1]), (False, [0, 1, 2, 3])):
        svg = vl_convert.vegalite_to_svg(CHARTS["bars"](sort=sort).draw(data).to_dict())
        assert sorted(stages, key=lambda stage: svg.index(f">{stage}</text>")) == stages[order].tolist()
