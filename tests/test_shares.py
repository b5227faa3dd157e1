"""Shares of stages in what they do together, against plain training loops."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.interventions import INTERVENTIONS
from aadsl.study.answering import Answering
from tests.digits import STEPS, Recorded, record
from tests.interventions import FIXED

PROBES = slice(1000, 1060)
PARTS = {"one": range(6), "two": range(6, 14), "three": range(14, STEPS)}  # every step is in one of them

# PyTorch wonders about a schedule that goes on while a step is skipped, which is what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run", torch.float64)


def asked(run: Recorded, **options: Any) -> aadsl.Study:
    study = run.study(**options)
    study.family("part", PARTS)
    study.family("window", {t: range(t, t + 4) for t in range(0, STEPS, 4)})
    on = run.data[0][PROBES], run.data[1][PROBES]
    study.behavior("reading", "log_likelihood", on=on)
    study.behavior("right", "accuracy", on=on)
    return study


@pytest.fixture(scope="module")
def study(run: Recorded) -> aadsl.Study:
    return asked(run)


def reading(run: Recorded, net: nn.Module) -> float:
    with torch.no_grad():
        log_probabilities = net(run.data[0][PROBES]).log_softmax(dim=1)
        return float(log_probabilities.gather(1, run.data[1][PROBES, None]).mean())


def trained_without(run: Recorded, steps: Collection[int], **options: Any) -> float:
    return reading(run, run.retrained(steps, **options))


@pytest.mark.parametrize(("intervention", "fresh"), [("skip", False), ("restart", True)])
def test_shares_are_what_plain_training_loops_say(
    run: Recorded, study: aadsl.Study, intervention: str, fresh: bool
) -> None:
    first, second = PARTS["one"], PARTS["two"]
    answer = study.shares(["part[one]", "part[two]"], ["reading"], intervention=intervention)
    whole = trained_without(run, ())
    one, two, both = (
        whole - trained_without(run, steps, fresh_after=fresh) for steps in (first, second, [*first, *second])
    )
    expected = [(one + both - two) / 2, (two + both - one) / 2]
    np.testing.assert_allclose(answer.share.values[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(answer.share.sum("stage"), [both], rtol=1e-6)
    np.testing.assert_allclose(answer.effect.values[:, 0], [one, two], rtol=1e-6)
    assert answer.exact.values.all() and (answer.trust == "high").all()
    np.testing.assert_array_equal(answer.share_low, answer.share_high)


def test_a_family_of_all_steps_leaves_the_untrained_model(run: Recorded, study: aadsl.Study) -> None:
    answer = study.shares("part", ["reading", "right"])
    assert answer.stage.values.tolist() == ["part[one]", "part[two]", "part[three]"]
    untrained = trained_without(run, range(STEPS))
    assert float(answer.without.sel(behavior="reading")) == pytest.approx(untrained, rel=1e-6)
    np.testing.assert_allclose(answer.without + answer.share.sum("stage"), answer.observed, rtol=1e-12)
    assert answer.attrs["exact"] == 1
    assert answer.attrs["answered_by"] == "shares over all orders of 3 stages, from 7 exact answers, by retraining"


@pytest.mark.parametrize("name", FIXED)
def test_shares_add_up_whatever_is_changed(run: Recorded, study: aadsl.Study, name: str) -> None:
    other = run.data[0].flip(1), run.data[1]
    options = {"scale_lr": {"factor": 0.5}, "reweight": {"weight": 2.0}, "replace": {"data": other}}
    intervention = INTERVENTIONS[name](**options.get(name, {}))
    answer = study.shares(["part[two]", "part[three]"], ["reading"], intervention=intervention)
    np.testing.assert_allclose(answer.share.sum("stage"), answer.together, rtol=1e-12)


def test_many_stages_are_sampled_and_add_up_all_the_same(run: Recorded, study: aadsl.Study) -> None:
    answer = study.shares("window", ["reading"], permutations=8)
    assert not answer.exact.values.any() and answer.attrs["exact"] == 0
    untrained = trained_without(run, range(STEPS))
    joint = trained_without(run, ()) - untrained
    np.testing.assert_allclose(answer.share.sum("stage"), [joint], rtol=1e-6)
    truth = study.shares("window", ["reading"], permutations=50)
    assert truth.exact.values.all()
    assert (answer.share_low <= answer.share).all() and (answer.share_low < answer.share_high).any()
    np.testing.assert_allclose(answer.share, truth.share, atol=0.3 * float(np.abs(truth.share).max()))
    assert "exact answers" in str(answer.trust_reason.values[0, 0])
    assert answer.attrs["answered_by"].startswith("shares over 8 orders drawn at random of 6 stages")


def test_a_stage_that_is_there_twice_shares_with_itself_and_costs_nothing(
    study: aadsl.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.stage("again", PARTS["one"])
    asked: list[int] = []
    answer = Answering.answer

    def counted(self: Answering, query: Any, *args: Any) -> Any:
        asked.append(len(query.members))
        return answer(self, query, *args)

    monkeypatch.setattr(Answering, "answer", counted)
    shares = study.shares(["part[one]", "again", "part[two]"], ["reading"]).share.values[:, 0]
    assert asked == [3]  # of seven coalitions
    assert shares[0] == pytest.approx(shares[1], rel=1e-12)


def test_a_name_given_twice_is_one_stage(study: aadsl.Study) -> None:
    answer = study.shares(["part", "part[one]"], ["reading"])
    assert answer.sizes["stage"] == 3


def test_nothing_is_trained_twice(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    before = asked(run).shares("part", ["reading"])

    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr("aadsl.study.exact_answers.ends", refuse)
    after = asked(run).shares("part", ["reading", "right"])  # another behavior is read off kept models
    shares = (answer.share.sel(behavior="reading") for answer in (before, after))
    np.testing.assert_allclose(*shares, rtol=1e-12)


@pytest.mark.parametrize(
    ("stages", "options", "words"),
    [
        (["part[one]"], {}, "one stage"),
        ("part", {"permutations": 9}, "even number"),
        ("parts", {}, 'did you mean "part"'),
    ],
)
def test_mistakes_are_said(study: aadsl.Study, stages: Any, options: Any, words: str) -> None:
    with pytest.raises(AadslError, match=words):
        study.shares(stages, ["reading"], **options)
