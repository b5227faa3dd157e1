"""Exact first: what a budget covers is the truth, and what it does not says how wrong it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aadsl
from aadsl.core.errors import AadslError
from aadsl.core.units import seconds_of
from aadsl.study.answering import Answering
from aadsl.study.budget import TimeBudget, allotted
from aadsl.study.intervals import half_width
from aadsl.study.outcome import Price
from aadsl.study.trust import Evidence, verdict
from tests.digits import STEPS, Recorded, record

PROBES = slice(1000, 1060)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(recorded: Recorded) -> Any:
    yield recorded
    for path in Path(f"{recorded.path}.effects").glob("*"):
        path.unlink()


def asked(run: Recorded, **options: Any) -> aadsl.Study:
    study = run.study(**options)
    study.family("window", {t: range(t, t + 2) for t in range(0, STEPS, 2)})
    on = run.data[0][PROBES], run.data[1][PROBES]
    study.behavior("reading", "log_likelihood", on=on)
    study.behavior("sure", "margin", on=on)
    study.behavior("right", "accuracy", on=on)
    return study


def priced(monkeypatch: pytest.MonkeyPatch, stage: float, control: float = 0.0, estimate: float = 1.0) -> None:
    """Say what answers cost, in seconds, whatever this machine needs."""

    def price(self: Answering, identity: Any, query: Any) -> Price:
        return Price(np.full(len(query.members), stage), control)

    monkeypatch.setattr(Answering, "price", price)
    monkeypatch.setattr("aadsl.study.cost_model.Costs.seconds", lambda self, method, cost: estimate)


def test_the_default_answer_is_exact(run: Recorded) -> None:
    answer = asked(run).score(["window"], ["reading", "right"])
    truth = asked(run).retrain(["window"], ["reading", "right"])
    np.testing.assert_array_equal(answer.effect, truth.effect)
    assert answer.exact.values.all() and (answer.trust == "high").all()
    np.testing.assert_array_equal(answer.effect_low, answer.effect)
    assert answer.attrs["answered_by"] == "12 stages exact, by retraining"
    assert answer.attrs["estimator"] == 'auto(within="30 s")'


def test_beyond_the_budget_the_largest_are_exact_and_each_number_says_which_it_is(
    run: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    priced(monkeypatch, stage=100.0)
    study = asked(run, within=350)
    answer = study.score(["window"], ["reading"])
    assert int(answer.exact.sum()) == 3
    estimates = study.score(["window"], ["reading"], estimator="blocks").effect
    largest = np.abs(estimates).values[:, 0].argsort()[-3:]
    assert answer.exact.values[largest, 0].all()
    truth = study.retrain(["window"], ["reading"]).effect
    np.testing.assert_array_equal(answer.effect.where(answer.exact), truth.where(answer.exact))
    np.testing.assert_array_equal(answer.effect.where(~answer.exact), estimates.where(~answer.exact))
    assert (answer.trust.values[~answer.exact.values] == "low").all()  # three exact answers are too few
    assert answer.attrs["answered_by"].startswith(
        "3 of 12 stages exact, by retraining, the others estimated by blocks("
    )
    assert np.isnan(answer.effect_low.values[~answer.exact.values]).all()


def test_fifteen_exact_answers_give_the_others_intervals(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    priced(monkeypatch, stage=100.0, control=50.0)
    study = asked(run)
    study.family("window", {t: range(t, t + 2) for t in range(STEPS - 1)})
    answer = study.score(["window"], ["reading"], within=1570)
    assert int(answer.exact.sum()) == 15
    estimated = ~answer.exact.values
    low, effect, high = (answer[name].values[estimated] for name in ("effect_low", "effect", "effect_high"))
    assert (low < effect).all() and (effect < high).all()
    assert all("from 15 exact answers" in reason for reason in answer.trust_reason.values[estimated])


def test_a_dear_estimate_gives_way_to_the_exact_answer(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    priced(monkeypatch, stage=10.0, estimate=1000.0)
    assert asked(run).score(["window"], ["reading"], within="1 s").exact.values.all()


def test_what_has_no_gradient_is_exact_or_says_what_that_takes(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(run).score(["window"], ["right"]).exact.values.all()
    priced(monkeypatch, stage=1000.0)
    with pytest.raises(
        AadslError, match=r'"right" has no gradient.*about 3.3 h, more than the budget of 30.0 s'
    ) as caught:
        asked(run).score(["window"], ["right"])
    assert "within='3.3 h'" in str(caught.value)
    assert seconds_of("3.3 h") == pytest.approx(12000, rel=0.02)


def test_known_answers_cost_nothing(run: Recorded) -> None:
    study = asked(run)
    first = study.retrain(["window"], ["reading"]).effect
    answer = asked(run).score(["window"], ["reading"], within=0)
    np.testing.assert_array_equal(answer.effect, first)
    assert answer.exact.values.all()


def test_an_estimator_by_name_stays_what_it_is(run: Recorded) -> None:
    study = asked(run)
    study.family("window", {t: range(t, t + 2) for t in range(STEPS - 1)})
    answer = study.score(["window"], ["reading"], estimator="first_order")
    assert not answer.exact.values.any() and (answer.trust == "low").all()
    assert "compared with no exact answer" in answer.trust_reason.values[0, 0]
    study.retrain(["window"], ["reading"])
    again = study.score(["window"], ["reading"], estimator="first_order")
    np.testing.assert_array_equal(again.effect, answer.effect)
    assert np.isfinite(again.effect_low).all(), "exact answers that are known give intervals"


def test_a_budget_is_for_auto_alone(run: Recorded) -> None:
    with pytest.raises(AadslError, match=r"retraining\(\) has no budget"):
        asked(run).score(["window"], ["reading"], estimator="retraining", within="1 s")
    with pytest.raises(AadslError, match="is not a duration"):
        asked(run).score(["window"], ["reading"], within="soon")
    with pytest.raises(AadslError, match="is not a duration"):
        asked(run, within="-3 s")


def test_verify_trusts_the_exact_effect(run: Recorded) -> None:
    table = asked(run).verify(["window"], ["reading"])
    assert (table.trust == "high").all() and not table.exact.values.any()
    assert all(reason.startswith("exact") for reason in table.trust_reason.values.ravel())


def test_the_largest_steps_are_confirmed(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    study = asked(run)
    study.family("step", {t: [t] for t in range(STEPS)})
    truth = study.retrain(["step"], ["reading", "sure"]).effect
    estimates = study.step_effects(["reading", "sure"])
    found = study.rank(["reading", "sure"], top=4)
    for name in ("reading", "sure"):
        one, exact = found.sel(behavior=name), truth.sel(behavior=name).values
        top = np.argsort(-np.abs(estimates.sel(behavior=name).values))[:4]
        assert set(one.ranked.values.tolist()) == set(top.tolist())
        np.testing.assert_array_equal(one.ranked_effect.values, exact[one.ranked.values])
        assert (np.diff(np.abs(one.ranked_effect.values)) <= 0).all()
        assert one.ranked_exact.values.all() and (one.ranked_trust == "high").all()
    priced(monkeypatch, stage=10.0)
    some = study.rank(["reading"], top=4, within=25)
    assert int(some.ranked_exact.sum()) == 2
    assert set(some.ranked_trust.values[some.ranked_exact.values].tolist()) == {"high"}


def test_a_check_gives_single_steps_their_trust(run: Recorded) -> None:
    study = asked(run)
    study.stage("alone", [5])
    study.stage("long", range(2, 20))
    assert study.step_effects(["reading"]).trust.item() == "low"
    study.check(["reading"])
    checked = study.score(["alone", "long"], ["reading"], estimator="first_order")
    assert np.isfinite(checked.effect_low.sel(stage="alone")).all()
    assert np.isnan(checked.effect_low.sel(stage="long")).all(), "single steps say nothing of long stages"
    assert "15 exact answers" in study.step_effects(["reading"]).trust_reason.item()


@pytest.mark.parametrize(
    ("evidence", "level"),
    [
        (Evidence(1.0, exact=True), "high"),
        (Evidence(0.0, exact=True), "high"),
        (Evidence(1.0, exact=True, noise=0.4), "high"),
        (Evidence(1.0, exact=True, noise=0.6), "low"),
        (Evidence(1.0), "low"),
        (Evidence(1.0, pairs=14), "low"),
        (Evidence(1.0, low=0.9, high=1.1, pairs=9), "high"),
        (Evidence(-1.0, low=-1.1, high=-0.9, pairs=9), "high"),
        (Evidence(1.0, low=0.5, high=1.5, pairs=9), "medium"),
        (Evidence(1.0, low=-0.5, high=2.5, pairs=9), "low"),
        (Evidence(1.0, exact=True, unverified="other loss"), "low"),
    ],
)
def test_the_rule_of_trust(evidence: Evidence, level: str) -> None:
    found, reason = verdict(evidence)
    assert found == level
    assert len(reason) > 10


def test_conformal_intervals_cover_what_they_promise() -> None:
    """Drawn from a heavy-tailed law: with n calibrating scores the next one is inside with a chance of at least 90%."""
    generator = np.random.default_rng(0)
    for n in (15, 19, 40):
        inside = [
            scores[-1] <= half_width(scores[:-1]) for scores in np.abs(generator.standard_t(2, size=(20_000, n + 1)))
        ]
        assert 0.89 < np.mean(inside) < 0.95, n
    assert np.isnan(half_width(np.ones(14)))


def test_a_budget_is_spent_on_drawn_and_on_the_largest() -> None:
    estimates = np.arange(40.0)[:, None] * [1.0, -2.0]
    some = allotted(estimates, np.ones(40), 18.5)
    assert some.sum() == 18 and some[-3:].all()
    assert allotted(estimates, np.ones(40), 3.5).nonzero()[0].tolist() == [37, 38, 39]
    assert not allotted(estimates, np.ones(40), 0.5).any()
    assert allotted(estimates, np.zeros(40), 0.0).all()


def test_a_budget_runs_out() -> None:
    assert TimeBudget(0.0).left == 0
    assert 0 < TimeBudget(1e6).left <= 1e6
