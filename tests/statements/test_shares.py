"""``shares``: what it asks of a study, what it says, and what it leaves for plots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aadsl.core.errors import AadslError
from aadsl.core.numbers import signed
from aadsl.statements import Session, format_program, run
from aadsl.statements.studied import Studied
from aadsl.study.shapley import PERMUTATIONS
from tests.statements.fakes import LENGTH, FakeStudy
from tests.statements.snapshots import PRELUDE
from tests.statements.test_real_run import DEFINE, LOAD


@pytest.fixture
def ask(session: Session, names: dict[str, Any]) -> Any:
    run(PRELUDE, names, session)
    return lambda program: run(program, names, session)


@pytest.mark.parametrize("of", ["", "of "])
def test_it_asks_for_shares_of_the_members(ask: Any, study: FakeStudy, of: str) -> None:
    ask(f"shares {of}source, poisoned on backdoor under restart() with permutations=50")
    (call,) = (call for call in study.calls if call[0] == "shares")
    assert call[1:3] == (("source[clean]", "source[badnet]", "poisoned"), ("backdoor",))
    assert type(call[3]).__name__ == "Restart" and call[4] == 50
    ask("shares source on backdoor")
    assert study.calls[-1][-2:] == ("skip", PERMUTATIONS)


def test_it_lists_the_shares_and_their_sum(ask: Any) -> None:
    result = ask("shares source on backdoor")
    bad, clean = 5, LENGTH - 10  # steps; an effect of the fake is the square of how many are left out
    shares = [clean**2 + bad * clean, bad**2 + bad * clean]
    np.testing.assert_allclose(result.dataset["share"].values[:, 0], shares)
    assert result.messages[-1].split("\n") == [
        "shares in backdoor:",
        f"  source[clean]   {signed(shares[0], 4)}  exact",
        f"  source[badnet]  {signed(shares[1], 4)}  exact",
        f"together: {signed(sum(shares), 4)} nats, the sum of the shares",
    ]


def test_sampled_shares_are_said_with_their_intervals(ask: Any) -> None:
    result = ask("stages window every 6 steps\nshares window on backdoor with permutations=8")
    assert result.messages[-1].count("90% interval") == 10
    assert not result.dataset["exact"].values.any()


def test_a_stage_of_all_steps_and_a_behavior_without_gradient_are_fine(ask: Any) -> None:
    assert ask("shares everything, warmup on right").dataset.sizes["stage"] == 2


def test_the_permutations_may_live_in_the_notebook(session: Session, study: FakeStudy) -> None:
    run(f"{PRELUDE}\nshares source on backdoor with permutations=many", {"many": 12, **_names()}, session)
    assert study.calls[-1][-1] == 12


def _names() -> dict[str, Any]:
    from tests.statements.conftest import notebook

    return notebook()


def test_the_answer_is_plotted_by_charts_of_shares(ask: Any) -> None:
    result = ask("shares source on backdoor\nplot waterfall")
    assert "without any of them" in str(result.charts[0].to_dict())
    assert ask("plot waterfall of backdoor by source").charts
    assert ask("plot bars").charts
    with pytest.raises(AadslError, match="no answer to plot"):
        ask("plot waterfall of right")


def test_another_answer_is_no_waterfall(ask: Any) -> None:
    with pytest.raises(AadslError, match="shares FAMILY on BEHAVIOR"):
        ask("score source on backdoor\nplot waterfall")


def test_explain_counts_the_retrainings(ask: Any, study: Studied) -> None:
    assert "2 stages over all orders: 3 retrainings" in ask("explain shares source on backdoor").plan
    study.stage("again", study.stages["warmup"])
    assert ": 1 retraining " in ask("explain shares warmup, again on backdoor").plan  # their unions are equal
    plan = ask("stages window every 6 steps\nexplain shares window on backdoor with permutations=8").plan
    assert "shares of 10 stages over 8 random orders: " in plan
    assert "combination" not in str(list(study.stages))  # nothing is named in the study itself


def test_it_is_formatted_like_other_statements() -> None:
    text = "shares   of source,poisoned on  backdoor under restart( ) with permutations = 50\n"
    assert format_program(text) == ("shares of source, poisoned on backdoor under restart() with permutations=50\n")


def test_a_real_run(tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, names = tiny
    monkeypatch.chdir(folder)
    target = os.fspath(tmp_path / "shares.nc")
    program = [
        "stages window every 3 steps",
        "behavior right = accuracy on test",
        "explain shares window on backdoor",
        "shares source on backdoor, right",
        "plot waterfall",
        f'save "{target}"',
        f'save "{tmp_path}/w.png"',
        "plot timeline of backdoor",
    ]
    result = run(LOAD + DEFINE + "\n".join(program), names)
    assert "retrainings" in result.plan and "on this machine" in result.plan
    answer = result.dataset
    np.testing.assert_allclose(answer.share.sum("stage"), answer.together, rtol=1e-12)
    np.testing.assert_allclose(answer.without + answer.together, answer.observed, rtol=1e-6)
    assert "the sum of the shares" in result.messages[-3]
    assert Path(target).exists() and (tmp_path / "w.png").stat().st_size > 1000
