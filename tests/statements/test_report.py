"""A report holds the question, the numbers, the charts and where they come from, of the newest answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aadsl.charts.brushing import brush_table, brushable
from aadsl.charts.thin import SLICES
from aadsl.core.errors import AadslError
from aadsl.statements import Session, run
from aadsl.statements.report import report_of
from tests.charts.answers import answer
from tests.statements.snapshots import PRELUDE


def told(page: str) -> str:
    """Return what a page tells, without its charts."""
    return re.sub(r'<div class="chart">.*?</div>|<script>.*?</script>|<style>.*?</style>', "", page, flags=re.DOTALL)


def drawn(page: str) -> list[dict[str, Any]]:
    return [json.loads(spec) for spec in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)]


@pytest.fixture
def ask(session: Session, names: dict[str, Any]) -> Any:
    run(PRELUDE, names, session)
    return lambda program: run(program, names, session)


def test_it_tells_what_was_asked_answered_and_drawn(ask: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    result = ask(f"score poisoned,  # the shipment\n  warmup on backdoor\nplot timeline\nplot bars\nsave '{path}'")
    assert result.messages[-1] == f"saved {path}"
    page = path.read_text(encoding="utf-8")
    said = told(page)
    assert "<title>What stages &quot;poisoned&quot; and &quot;warmup&quot; of the training did to" in page
    for line in ("stage warmup = steps[0:10]", "score poisoned,  # the shipment\n  warmup on backdoor", "runs/fake"):
        assert line in said
    assert "<td>poisoned</td><td>5 of 60: [30:35]</td>" in said  # what the names mean
    assert "log_likelihood(target=7)" in said and "aadsl" in said and "torch" in said
    assert '<td>poisoned</td><td>backdoor</td><td class="number">0</td><td class="number">−5</td>' in said
    assert [spec["title"]["text"] for spec in drawn(page)] == [
        'Effect of every step on "backdoor"',
        'Effect of 2 stages on "backdoor"',
        "Select steps",
    ]
    assert "Content-Security-Policy" in page and not re.search(r'(src|href)="(?!data:)', said)


def test_without_a_plot_it_has_the_chart_that_fits_and_no_timeline_that_would_take_time(ask: Any, study: Any) -> None:
    for question, title in {
        "score warmup on right": "Effect of",
        "shares source on right": "Shares of",
        "verify source on backdoor": "Do estimate",
    }.items():
        answered = ask(question).answered
        calls = list(study.calls)
        titles = [spec["title"]["text"] for spec in drawn(report_of(answered).html())]
        assert titles[0].startswith(title) and study.calls == calls
    ranked = told(report_of(ask("rank steps on backdoor top 2").answered).html())
    assert '<td class="number">1</td><td class="number">0</td><td class="number">−40</td><td>estimate</td>' in ranked


def test_what_was_defined_is_told_once_and_in_order(ask: Any, names: dict[str, Any]) -> None:
    cell = "stage a = steps[0:3]\nscore a on backdoor"
    ask(cell)
    program = ask(cell).answered.program
    assert program[-2:] == ("stage a = steps[0:3]", "score a on backdoor")
    assert len([text for text in program if text.startswith("stage a")]) == 1
    ask("stage a = steps[0:4]")
    assert ask("score a on backdoor").answered.program[-3:-1] == ("stage a = steps[0:3]", "stage a = steps[0:4]")
    session = ask("").session
    again = run("load other", {**names, "other": session.study}, session)
    assert again.session.definitions == [("", "load other")]


def test_there_is_no_report_without_an_answer(ask: Any) -> None:
    with pytest.raises(AadslError, match="there is no answer to save"):
        ask('save "report.html"')


@pytest.mark.parametrize("steps", [60, 10 * SLICES + 7])
def test_bars_under_the_brush_add_up_to_the_steps(steps: int) -> None:
    dataset = answer(steps=steps)
    groups = np.where(np.arange(steps) % 7 < 3, "a", "b")
    table = brush_table(dataset, "digits", groups)
    effects = dataset["step_effect"].sel(behavior="digits").to_numpy()
    assert table["step"].nunique() <= SLICES and table["count"].sum() == steps
    for (first, last), bars in table.groupby(["first", "last"]):
        for group in bars["group"]:
            inside = np.arange(first, last + 1)
            mine = bars.loc[bars["group"] == group, "effect"].sum()
            assert mine == pytest.approx(effects[inside][groups[inside] == group].sum())
    assert (table["to"] - table["from"]).to_numpy() == pytest.approx(table["effect"].to_numpy())
    assert len(json.dumps(brushable(dataset).to_dict())) < 300_000 * 2
