"""Two runs beside each other: one question, one answer, each number that of its run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aadsl.core.errors import AadslError
from aadsl.statements import Result, Session, run
from tests.charts.test_timeline import rows_of
from tests.statements.tiny import record

NAMED = """
stage bad = batches where tag == "badnet"
stages window every 12 steps
behavior reading = log_likelihood on triggered
behavior right = accuracy on test by label
"""
LOADS = {
    "first": 'load "a/tiny" with model=net, loss=loss_fn, data=train',
    "second": 'load "b/tiny" with model=other, loss=loss_fn, data=others',
}
BOTH = "\n".join(f"{text} as {name}" for name, text in LOADS.items()) + NAMED


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("beside")
    for name in "ab":
        (folder / name).mkdir()
    names = record(folder / "a")
    second = record(folder / "b", seed=1, bad=range(4, 9))
    return folder, {**names, "other": second["net"], "others": second["train"]}


@pytest.fixture
def ask(runs: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(runs[0])
    session = Session()
    run(BOTH, runs[1], session)
    return lambda program: run(program, runs[1], session)


def alone(runs: tuple[Path, dict[str, Any]], name: str, program: str) -> Result:
    return run(f"{LOADS[name]}{NAMED}{program}", runs[1], Session())


def test_every_number_is_that_of_its_run(ask: Any, runs: tuple[Path, dict[str, Any]]) -> None:
    question = "score bad, window, steps[3:5] on reading, right"
    result = ask(question)
    assert result.dataset["behavior"].values.tolist()[::4] == ["reading[first]", "reading[second]"]
    for name in LOADS:
        single = alone(runs, name, question).dataset
        assert single is not None
        for behavior in single["behavior"].values:
            called = behavior[:-1] + f", {name}]" if behavior.endswith("]") else f"{behavior}[{name}]"
            both = result.dataset.sel(behavior=called)
            np.testing.assert_allclose(both["effect"], single["effect"].sel(behavior=behavior), rtol=1e-6)
            assert float(both["observed"]) == pytest.approx(float(single["observed"].sel(behavior=behavior)))
    assert any(text.startswith("second: reading") for text in result.messages)
    assert len(result.frame) == 4 * 8


def test_one_chart_and_one_file_have_both(ask: Any, tmp_path: Path) -> None:
    result = ask(f"score bad on reading\nplot bars\nplot bars of reading\nplot timeline\nsave '{tmp_path}/both.html'")
    for chart in result.charts:
        title = chart.to_dict()["title"]
        assert '"reading[first]" and "reading[second]"' in title["text"]
        assert 'Of the run "first: tiny, second: tiny".' in title["subtitle"]
    page = (tmp_path / "both.html").read_text()
    assert "as first" in page and "as second" in page and "first: a/tiny, second: b/tiny" in page
    ask("shares bad, window[0:12] on reading\nplot waterfall")
    ask("verify bad, window on reading\nplot agreement")
    assert ask("rank steps on reading top 2").dataset["ranked"].sizes == {"rank": 2, "behavior": 2}
    assert len(ask("check reading").checks) == 2
    assert ask("explain score bad on reading").plan.count("how would the behavior differ") == 2


def test_a_chart_may_be_of_a_behavior_in_one_of_the_runs(ask: Any, runs: tuple[Path, dict[str, Any]]) -> None:
    ask("score bad on reading, right")
    drawn = ask("plot timeline of reading[second]\nplot bars of reading[first]\nplot bars of `right[4, second]`")
    titles = [chart.to_dict()["title"] for chart in drawn.charts]
    for title, name in zip(titles, ("reading[second]", "reading[first]", "right[4, second]"), strict=True):
        assert f'on "{name}"' in str(title["text"])
    assert 'Of the run "second: tiny".' in titles[0]["subtitle"]
    single = alone(runs, "second", "score bad on reading\nplot timeline").charts[0]
    assert _effects(drawn.charts[0]) == pytest.approx(_effects(single), rel=1e-4)
    with pytest.raises(AadslError, match=r"no behavior .reading\[third\]"):
        ask("plot timeline of reading[third]")


def _effects(chart: Any) -> list[float]:
    return [row["effect"] for row in rows_of(chart) if "effect" in row]


def test_a_stage_of_one_run_alone_is_missing_in_the_other(ask: Any, runs: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(AadslError, match='stage "early" is empty, in run "first"') as caught:
        ask('stage early = steps[4:9] where tag == "badnet"')
    assert len(caught.value.problems) == 1
    with pytest.raises(AadslError, match=r"no stage .nothing.\n") as caught:
        ask("score nothing on reading")  # in all runs, so it is said once
    assert len(caught.value.problems) == 1


def test_families_that_differ_have_gaps(ask: Any) -> None:
    session = ask("").session
    for name, own in session.runs.items():
        own.study.family("part", {name: [1, 2], "both": [3, 4]})
    dataset = ask("score part on reading").dataset
    effect = dataset["effect"].to_series().unstack()
    assert effect.isna().to_numpy().sum() == 2 and effect.loc["part[both]"].notna().all()
    assert not dataset["exact"].sel(stage="part[first]", behavior="reading[second]")


def test_a_load_without_a_name_leaves_them(ask: Any, runs: tuple[Path, dict[str, Any]]) -> None:
    result = ask(f"{LOADS['second']}{NAMED}score bad on reading")
    assert result.dataset["behavior"].values.tolist() == ["reading"] and result.session.runs == {}


def test_one_named_run_is_answered_as_any(runs: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs[0])
    session = Session()
    run(f"{LOADS['first']} as first{NAMED}", runs[1], session)
    assert run("score bad on reading", runs[1], session).dataset["behavior"].values.tolist() == ["reading"]  # type: ignore[index]
    run(f"{LOADS['second']} as second", runs[1], session)
    with pytest.raises(AadslError, match='no stage "bad", in run "second"'):
        run("score bad on reading", runs[1], session)
    again = run(f"{LOADS['second']} as second{NAMED}score bad on reading", runs[1], session)
    assert again.dataset["behavior"].values.tolist() == ["reading[first]", "reading[second]"]  # type: ignore[index]
