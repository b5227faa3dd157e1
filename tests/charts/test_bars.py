import numpy as np
import pytest
import vl_convert

from aadsl.charts import CHARTS
from aadsl.charts.answers import answer_table
from aadsl.core.errors import AadslError
from tests.charts.answers import answer
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
