"""``check``, and the way from estimates to exact numbers that answers tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aadsl.estimators import ESTIMATORS
from aadsl.statements import Session, run
from aadsl.statements.hints import with_clause
from tests.statements.fakes import FakeStudy
from tests.statements.snapshots import PRELUDE


@pytest.fixture
def ask(session: Session, names: dict[str, Any]) -> Any:
    run(PRELUDE, names, session)
    return lambda program: run(program, names, session)


def test_check_asks_the_study_and_says_what_it_found(ask: Any, study: FakeStudy) -> None:
    result = ask("check backdoor, digits[4] using blocks() under restart() with samples=20")
    (name, behaviors, samples, estimator, intervention) = study.calls[-1]
    assert (name, behaviors, samples, estimator) == ("check", ("backdoor", "digits[4]"), 20, ESTIMATORS["blocks"]())
    assert type(intervention).__name__ == "Restart"
    said = result.messages[-1].splitlines()
    assert said[0].endswith("of 20 single steps beside exact replays:")
    assert said[1] == "  backdoor: correlation 0.990, slope 1.05, off by 5% (90% interval 4% to 6%)"
    assert result.checks[0]["slope"].item(0) == 1.05
    assert result.dataset is None and result.session.answers == []  # nothing to plot or to save


def test_check_says_what_too_few_steps_and_no_effect_mean(ask: Any, study: FakeStudy) -> None:
    assert ask("check backdoor with samples=3").messages[-1].endswith("say `with samples=15`")
    none = study.check(["backdoor"]) * np.nan
    study.check = lambda *_, **__: none.assign_attrs(steps=[1, 2])  # type: ignore[method-assign]
    assert "backdoor: none of these steps has any effect" in ask("check backdoor").messages[-1]


def test_explain_prices_estimates_and_replays(ask: Any, study: FakeStudy) -> None:
    plan = ask("explain check backdoor with samples=4").plan
    assert (
        plan == "check of 4 single steps\n"
        "estimates: plan: 4 stages, 1 behaviors\n\nexact replays: plan: 4 stages, 1 behaviors"
    )
    assert "step" not in study.families and not study.calls


@pytest.mark.parametrize(
    ("asked", "exactly"),
    {
        "score source on backdoor using first_order()": "score source on backdoor using retraining()",
        "score source,  # why\n  warmup on backdoor using blocks(rank=2) under skip()": (
            "score source, warmup on backdoor using retraining() under skip()"
        ),
        'score a["b  #c"] on `using` under skip()': 'score a["b  #c"] on `using` using retraining() under skip()',
    }.items(),
)
def test_the_exact_question_is_the_same_but_for_its_estimator(asked: str, exactly: str) -> None:
    assert with_clause(asked, "using retraining()") == exactly


def test_estimates_say_what_to_type_for_the_exact_answer(ask: Any, study: FakeStudy) -> None:
    result = ask("score source, warmup on backdoor using first_order()")
    assert result.dataset.attrs.get("way_to_exact") is None  # the fake trusts them highly
    score = study.score
    study.score = lambda *a, **k: score(*a, **k).assign(trust=lambda d: d["trust"].copy(data=[["low"]] * 3))  # type: ignore[method-assign]
    (*_, hint) = ask("score source, warmup on backdoor using first_order()").messages
    said, exactly = hint.split("\n  ")
    assert said == "3 of 3 numbers are estimates, of low trust. Exactly, in about 30.0 s:"
    ask(exactly)
    assert study.calls[-1][3] == ESTIMATORS["retraining"]()


def test_ranked_estimates_say_what_confirms_them(ask: Any, study: FakeStudy) -> None:
    hint = ask("rank steps on backdoor top 3").messages[-1]
    assert hint == 'exactly, in about 30.0 s:\n  rank steps on backdoor top 3 using auto(within="38 s")'
    assert ask(hint.split("\n  ")[1]).dataset is not None
    assert "step" not in study.families


def test_on_a_real_run_a_check_gives_later_estimates_intervals(
    tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, names = tiny
    monkeypatch.chdir(folder)
    session = Session()
    run('load "runs/tiny" with model=net, loss=loss_fn, data=train', names, session)
    run("behavior b = log_likelihood on test\nstage one = steps[7:8]", names, session)
    before = run("score one on b using first_order()", names, session)
    assert before.dataset["effect_low"].isnull().all()
    assert "using retraining()" in before.messages[-1]
    found = run("check b", names, session).checks[0]
    assert len(found.attrs["steps"]) == 15 and 0 < found["relative_error"].item() < 1
    after = run("score one on b using first_order()", names, session)
    assert after.dataset["effect_low"].notnull().all()
    steps = session.study.step_effects(["b"])  # type: ignore[union-attr]
    every = session.study.branch()  # type: ignore[union-attr]
    exact = every.retrain(every.family("at", {str(t): [t] for t in range(24)}), ["b"])["effect"]  # type: ignore[attr-defined]
    inside = (steps["low"].values <= exact.values) & (exact.values <= steps["high"].values)
    assert inside.mean() > 0.8  # of those compared 90%, and the others are no worse on this run
