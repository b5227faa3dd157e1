"""A plot is refused before anything is computed when no answer will have what the chart needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aadsl.charts import CHARTS
from aadsl.core.errors import AadslError
from aadsl.estimators import ESTIMATORS
from aadsl.statements import Session, run
from aadsl.statements.question import QuestionStatement
from aadsl.statements.scope import Scope
from aadsl.statements.session import Answered
from aadsl.statements.table import parser
from tests.charts.answers import answer
from tests.charts.test_timeline import rows_of
from tests.statements.fakes import FakeStudy

FULL = answer(verified=True, examples=20, trust=True, shares=True)
NEEDS = [(name, need) for name, chart in CHARTS.items() for need in chart.needs]
DEFINE = """
load "runs/tiny" with model=net, loss=loss_fn, data=train
stage poisoned = batches where tag=="badnet"
stages source by tag
behavior backdoor = log_likelihood(target=7) on triggered
behavior each = margin on test per example
"""
QUESTIONS = [
    *(f"score source on backdoor using {name}()" for name in ESTIMATORS),
    *(f"score poisoned, source on backdoor, each using {name}()" for name in ESTIMATORS),
    *(f"verify source on each using {name}()" for name in ESTIMATORS),
    "shares source on backdoor, each",
    "shares poisoned, source on each under restart()",
    "rank steps on backdoor, each",
    "rank source on each using linearized()",
    "rank source on backdoor",
]


def having(*answers: Any) -> Session:
    return Session(FakeStudy(), [Answered(answer) for answer in answers])  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "need"), NEEDS, ids=[f"{name}-{need.variables[0]}" for name, need in NEEDS])
def test_a_chart_is_refused_while_an_answer_lacks_what_it_needs(name: str, need: Any) -> None:
    """The refusal comes from resolution: the stage of the line above is not defined either."""
    lacking = FULL.drop_vars([variable for variable in FULL.variables if need.met_by([str(variable)])])
    session = having(lacking)
    program = f"stage late = steps[3:5]\nplot {name}"
    with pytest.raises(AadslError) as caught:
        run(program, {}, session)
    (problem,) = caught.value.problems
    assert (problem.hint, problem.source_line) == (need.way_out, f"plot {name}")
    assert need.what in problem.message
    assert problem.span is not None and problem.span.column == 6
    assert session.study is not None and "late" not in session.study.stages
    with pytest.raises(AadslError):  # rightly: the chart cannot be drawn
        CHARTS[name]().draw(lacking)
    assert len(run(program, {}, having(lacking, FULL)).charts) == 1
    assert len(run(program, {}, having(FULL, lacking)).charts) == 1


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_declares_what_it_needs_and_draws_with_no_more(name: str) -> None:
    chart = CHARTS[name]
    assert chart.needs
    described = {"unit", "observed", "phase", "tag", "epoch"}
    spare = [
        variable
        for variable in map(str, FULL.data_vars)
        if variable not in described and not any(need.met_by([variable]) for need in chart.needs)
    ]
    assert spare
    assert chart().draw(FULL.drop_vars(spare))


@pytest.mark.parametrize("name", CHARTS)
def test_by_a_coordinate_is_refused_where_a_chart_cannot(name: str) -> None:
    program = f"plot {name} by tag"
    if CHARTS[name].by_coordinate:
        assert len(run(program, {}, having(FULL)).charts) == 1
        return
    with pytest.raises(AadslError, match="stages NAME by tag"):
        run(program, {}, having(FULL))
    with pytest.raises(AadslError):
        CHARTS[name]().draw(FULL, by="tag")


def test_a_plot_takes_the_newest_answer_that_has_what_the_chart_needs() -> None:
    older, newer = FULL.assign_attrs(estimator="the older"), FULL.assign_attrs(estimator="the newer")
    (chart,) = run("plot agreement", {}, having(older, newer, FULL.drop_vars("retrained_effect"))).charts
    assert "the newer" in str(chart.to_dict()["title"])


def test_stages_outside_a_family_can_be_plotted_by_it() -> None:
    """`of` and `by` may name different stages; both are looked for in the answer."""
    session = having(FULL)
    session.study.families["source"] = ("source[badnet]", "source[clean]")  # type: ignore[union-attr]
    for stage in FULL.stage.values:
        session.study.stages[str(stage)] = FULL.member.sel(stage=stage).values  # type: ignore[union-attr]
    for name in CHARTS:
        assert len(run(f"plot {name} of poisoned by source", {}, session).charts) == 1
        assert len(run(f"plot {name} of source[clean] by source", {}, session).charts) == 1


@pytest.fixture
def names(tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tiny[0])
    return dict(tiny[1])


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_foretold_of_an_answer_is_what_it_holds(names: dict[str, Any], question: str) -> None:
    session = run(DEFINE, names).session
    (statement,) = parser().parse(question).statements
    assert isinstance(statement, QuestionStatement)
    scope = Scope(parser().parse(question), names, session)
    statement.resolve(scope)
    (foretold,) = scope.answers
    run(question, names, session)
    held = session.answers[-1].outline
    assert (foretold.stages, foretold.behaviors, foretold.each) == (held.stages, held.behaviors, held.each)
    assert foretold.stepped == held.stepped
    for name, chart in CHARTS.items():
        met = [[need.met_by(it.variables_on(())) for need in chart.needs] for it in (foretold, held)]
        assert met[0] == met[1], name


def test_effects_of_single_steps_are_swept_when_they_are_asked_for(names: dict[str, Any]) -> None:
    session = run(DEFINE, names).session
    assert session.study is not None
    exact = run("score source on backdoor using retraining()", names, session)
    assert "step_effect" not in exact.dataset  # type: ignore[operator]
    (chart,) = run("plot timeline of backdoor", names, session).charts
    wanted = session.study.step_effects(["backdoor"], estimator="first_order", intervention="skip")
    drawn = [row["effect"] for row in rows_of(chart) if "effect" in row]
    np.testing.assert_allclose(drawn, wanted.values[:, 0], rtol=1e-4)
