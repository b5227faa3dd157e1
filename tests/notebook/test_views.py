"""What is shown at the end of a cell is escaped, sets no ink, and says what there is."""

import re

import numpy as np
import pandas as pd
import pytest

from aadsl.core.numbers import plain, signed
from aadsl.statements import Session, run
from aadsl.statements.frames import tidy
from aadsl.study.trust import Evidence, verdict
from jupyter_ext.answers import NAME, ROWS, answer_html, answer_shown, answer_text
from jupyter_ext.display import show
from jupyter_ext.html import preformatted, table
from tests.charts.answers import answer, many_stages
from tests.statements.conftest import notebook
from tests.statements.fakes import FakeStudy

ODD = '<script>alert("x")</script>'


@pytest.fixture
def shown(shell):
    def show(value):
        return shell.display_formatter.format(value)[0]

    return show


def test_a_study_says_what_it_holds(shown, recorded):
    study = recorded.study()
    assert "stages: none yet" in shown(study)["text/plain"]
    study.stage("first", slice(0, 10))
    study.behavior(ODD, "probability", (recorded.data[0][:7], recorded.data[1][:7]), target=3)
    study.behavior("own", lambda model, examples: model(examples[0])[:, 0], recorded.data)
    bundle = shown(study)
    lines = [line.split()[:4] for line in bundle["text/plain"].splitlines()]
    assert ["first", "10", "steps"] in lines and [ODD, "probability(target=3)", "7", "examples"] in lines
    assert all(len(repr(study.behaviors[name])) < 200 for name in (ODD, "own"))
    assert "24 steps of SGD" in bundle["text/html"]
    assert "<script>" not in bundle["text/html"]
    assert "probability" in shown(study.behaviors[ODD])["text/plain"]
    assert "<script>" not in shown(study.behaviors[ODD])["text/html"]


def test_a_stage_has_both_forms_and_a_trajectory_is_a_text(shown, recorded):
    study = recorded.study()
    for value in (study.stage("first", slice(0, 10)), study.steps):
        assert {"text/plain", "text/html"} <= set(shown(value))
    assert shown(study.trajectory) == {"text/plain": repr(study.trajectory)}


def test_pages_are_escaped():
    data = answer().assign_coords(stage=[ODD, "b", "c", "d"])
    assert "<script>" not in answer_html(data)
    assert "&lt;script&gt;" in answer_html(data)
    assert "<script>" not in preformatted(ODD) + table([ODD], [[ODD]], ODD)


def test_no_ink_is_set_that_a_dark_theme_would_swallow():
    for page in (answer_html(answer(trust=True)), preformatted("text"), table(["a"], [["b"]])):
        assert not re.findall(r"(?<![\w-])color\s*:|background\s*:(?! var\(--jp-)", page)


def test_the_table_says_who_helped():
    data = answer().assign(higher_is_better=("behavior", [True, False]))
    backdoor, digits = answer_shown(data).groups
    assert backdoor[1]["the stage"].iloc[0] == "helped"
    for effect, stage in zip(digits[1]["effect"], digits[1]["the stage"], strict=True):
        assert stage == ("hurt" if effect.startswith("+") else "helped")


def test_the_value_as_it_is_stands_beside_the_value_without_the_stage_and_estimates_are_marked():
    data = answer(exact=1)
    shown = answer_shown(data)
    for k, (title, columns) in enumerate(shown.groups):
        observed = data["observed"].values[k]
        assert title.startswith(f"{data['behavior'].values[k]}, as it is {plain(observed)}")
        for name, told, how in zip(shown.stages, columns["without"], columns["how"], strict=True):
            assert told.removeprefix("≈ ") == plain(observed - data["effect"].sel(stage=name).values[k])
            assert told.startswith("≈") == (how == "estimate") == (name != "poisoned")
    assert "would be" in answer_text(data.assign_attrs(intervention="zero_gradient()"))


def test_the_largest_effects_come_first_and_each_behavior_is_measured_by_its_own_largest():
    effects = [[0.1, 2.0], [0.3, -1.0], [-0.2, 100.0], [np.nan, 0.0]]
    data = answer().assign(effect=(("stage", "behavior"), effects))
    assert answer_shown(data).stages == [str(data["stage"].values[s]) for s in (1, 2, 0, 3)]
    assert "nan" not in answer_text(data)


@pytest.mark.parametrize(("behaviors", "lines"), [(("a",), ROWS), (("a", "b"), ROWS // 2)])
def test_of_many_stages_a_screen_is_shown_and_the_way_to_all(behaviors, lines):
    data = many_stages(200, behaviors)
    page, text = answer_html(data), answer_text(data)
    assert page.count("<tr>") == 2 + ROWS  # two of the header
    assert len([line for line in text.splitlines() if line.startswith("window ")]) == lines * len(behaviors)
    assert f"and {200 - ROWS} stages more" in page and f"and {200 - lines} stages more" in text
    assert "result.frame" in page and "result.frame" in text


def test_each_reason_is_given_once():
    data = many_stages(30).assign(trust=(("stage", "behavior"), np.full((30, 2), "low")))
    reasons = np.full((30, 2), "compared with nothing", dtype=object)
    reasons[:, 1] = [verdict(Evidence(1.0, low=-k - 1.0, high=3.0, pairs=12))[1] for k in range(30)]
    text = answer_text(data.assign(trust_reason=(("stage", "behavior"), reasons)))
    assert text.count("compared with nothing") == text.count("from 12 exact answers") == 1
    assert "○ 30 of 60: compared with nothing" in text


def test_long_names_stay_apart():
    names = [f"a stage with a name of many words, which are all alike, number {k} and so on" for k in range(4)]
    shown = answer_shown(answer().assign_coords(stage=names))
    assert len(set(shown.names.values())) == 4 and max(map(len, shown.names.values())) <= NAME
    assert all(f'title="{name}"' in shown.html() for name in names)


def test_the_table_of_shares_shows_them():
    data = answer(shares=True)
    text = answer_text(data)
    assert signed(data["share"].values[0, 0], 4) in text
    assert "share" in answer_shown(data).groups[0][1] and "share" not in answer_shown(answer()).groups[0][1]


PROGRAM = """stages source by tag
behavior digits = margin on test
score source on digits
plot bars
show stages
score source on digits
explain score source on digits
plot bars
rank source on digits top 1
verify source on digits"""


def test_texts_tables_and_charts_stand_in_the_order_in_which_they_were_asked(monkeypatch):
    kinds = []

    def display(what, **_):
        text = what.get("text/plain", "") if isinstance(what, dict) else ""
        kinds.append("table" if text.startswith("Effect: ") else "text" if text else "chart")

    monkeypatch.setattr("jupyter_ext.display.display", display)
    result = run(PROGRAM, notebook(), Session(study=FakeStudy()))
    show(result)
    # The answers before the charts are drawn, the ranking is a text, and the last answer is a table before its text.
    assert kinds == ["text", "chart", "text", "chart", "text", "table", "text"]
    assert [shown for shown in result.shown if isinstance(shown, str)] == [
        *result.messages[:5],
        *result.plans,
        *result.messages[5:],
    ]
    assert repr(result).splitlines() == [
        "<aadsl.Result>",
        *["  answer  2 stages × 1 behavior"] * 4,
        "  texts   7",
        "  plans   1",
        "  charts  2",
    ]
    assert repr(result.session) == "<aadsl.Session of runs/fake: 2 stages, 1 behavior, 4 answers>"
    text = str(result)
    assert text.index("stages:") < text.index("plan: ") < text.index("largest effects")


def test_a_table_of_pandas_is_marked_as_an_answer_where_it_is_one_and_shown_whole(shown):
    frame = tidy(answer(exact=2, verified=True))
    assert 'class="dataframe aadsl-table"' in shown(frame)["text/html"] and ">NaN<" not in shown(frame)["text/html"]
    assert "aadsl-table" in shown(frame.sort_values("effect").query("exact"))["text/html"]
    assert "aadsl-table" not in shown(pd.DataFrame({"effect": [1.0]}))["text/html"]
    with pd.option_context("display.max_rows", 4):
        assert shown(frame)["text/html"] == frame._repr_html_(), "what leaves rows out would be sorted without them"
    with pd.option_context("display.notebook_repr_html", False):
        assert "text/html" not in shown(frame)
