import numpy as np
import pytest

from aadsl.charts import CHARTS
from aadsl.charts.waterfall import INTERACTION, OBSERVED, OTHERS, WITHOUT, waterfall_table
from aadsl.core.errors import AadslError
from tests.charts.answers import answer


def draw(dataset, by=None):
    return str(CHARTS["waterfall"]().draw(dataset, by).to_dict())


def exact(dataset):
    return dataset.assign(share_low=dataset["share"], share_high=dataset["share"]).assign_attrs(
        estimator="retraining()"
    )


@pytest.mark.parametrize("behavior", ["backdoor", "digits"])
def test_each_bar_begins_where_the_one_before_ends(behavior):
    one = answer(shares=True).sel(behavior=behavior)
    table = waterfall_table(one)
    assert table["bar"].tolist() == [WITHOUT, *one["stage"].values, OBSERVED]
    stages = table.iloc[1:-1]
    np.testing.assert_allclose(stages["start"], table["end"].iloc[:-2])
    np.testing.assert_allclose(stages["end"] - stages["start"], one["share"])
    assert table["end"].iloc[0] == float(one["without"])
    assert table["end"].iloc[-1] == float(one["observed"]) == pytest.approx(stages["end"].iloc[-1])
    assert table["start"].iloc[0] == table["start"].iloc[-1] == 0


def test_whiskers_stand_at_the_ends_of_bars_and_only_where_shares_are_not_exact():
    one = answer(shares=True).sel(behavior="backdoor")
    stages = waterfall_table(one).iloc[1:-1]
    np.testing.assert_allclose(stages["end"] - stages["low"], one["share"] - one["share_low"])
    np.testing.assert_allclose(stages["high"] - stages["end"], one["share_high"] - one["share"])
    assert waterfall_table(exact(answer(shares=True)).sel(behavior="backdoor"))["low"].isna().all()
    assert "90% interval" in draw(answer(shares=True))
    assert "90% interval" not in draw(exact(answer(shares=True)))


def test_a_part_of_the_stages_is_completed_by_the_others():
    data = answer(shares=True)
    table = waterfall_table(data.sel(behavior="backdoor", stage=["source[badnet]"]))
    assert table["bar"].tolist() == [WITHOUT, "source[badnet]", OTHERS, OBSERVED]
    rest = data["share"].sel(behavior="backdoor").drop_sel(stage="source[badnet]").sum()
    assert table["share"][2] == pytest.approx(float(rest))
    assert OTHERS in draw(data, by="source")
    with pytest.raises(AadslError, match='did you mean "source"'):
        draw(data, by="sources")


@pytest.mark.parametrize(("observed", "narrower"), [(0.3, False), (40.0, True), (-40.0, True)])
def test_an_axis_far_from_zero_does_not_begin_there_and_says_so(observed, narrower):
    data = answer(behaviors=["backdoor"], shares=True)
    data = data.assign(observed=("behavior", [observed]))
    data = data.assign(without=data["observed"] - data["together"])
    table = waterfall_table(data.sel(behavior="backdoor"))
    edge = table["start"].iloc[0]
    assert (edge != 0) == narrower == ("does not begin at zero" in draw(data))
    if narrower:
        assert not table["end"].min() < edge < table["end"].max()
        assert abs(edge) < abs(observed) + 5


def test_colors_say_what_helped_also_where_less_is_better():
    data = answer(behaviors=("loss",), shares=True)
    assert "datum.share * 1 >= 0" in draw(data)
    assert "datum.share * -1 >= 0" in draw(data.assign(higher_is_better=("behavior", [False])))


def test_sampled_shares_are_not_called_exact():
    data = answer(shares=True).assign_attrs(estimator="retraining()")
    assert "Exact, by retraining" in draw(exact(data).assign(exact=data["share"] < np.inf))
    sampled = draw(data.assign(exact=data["share"] > np.inf))
    assert "Exact" not in sampled
    assert "random orders" in sampled


def test_low_trust_is_said():
    assert "low trust" in draw(answer(trust=True, shares=True))
    assert "low trust" not in draw(answer(shares=True))


def test_another_answer_is_refused_with_the_way_out():
    with pytest.raises(AadslError, match="shares FAMILY on BEHAVIOR"):
        draw(answer())


def test_effects_alone_reach_the_whole_by_their_interaction():
    data = exact(answer(shares=True))
    one = data.sel(behavior="backdoor")
    table = waterfall_table(one, "effect", INTERACTION)
    assert table["bar"].tolist() == [WITHOUT, *one["stage"].values, INTERACTION, OBSERVED]
    np.testing.assert_allclose(table["share"][1:5], one["effect"])
    assert table["share"][5] == pytest.approx(float(one["together"] - one["effect"].sum()))
    assert table["end"][5] == pytest.approx(float(one["observed"]))
    drawn = str(CHARTS["waterfall"](alone=True).draw(data).to_dict())
    assert "What each of 4 stages alone does to" in drawn and "beyond the sum" in drawn and "shares add up" not in drawn
    assert f"{OTHERS}, {INTERACTION}" in str(CHARTS["waterfall"](alone=True).draw(data, by="source").to_dict())


def test_what_adds_up_has_no_interaction():
    data = answer(shares=True).sel(behavior="backdoor")
    data = data.assign(effect=data["share"])
    assert INTERACTION not in waterfall_table(data, "effect", INTERACTION)["bar"].tolist()
