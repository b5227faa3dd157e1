"""What is shown at the end of a cell is escaped, sets no ink, and says what there is."""

import re

import pytest

from jupyter_ext.html import answer_html, answer_text, preformatted, table
from tests.charts.answers import answer

ODD = '<script>alert("x")</script>'


@pytest.fixture
def shown(shell):
    def show(value):
        return shell.display_formatter.format(value)[0]

    return show


def test_a_study_says_what_it_holds(shown, recorded):
    study = recorded.study()
    assert "no stage or behavior" in shown(study)["text/plain"]
    study.stage("first", slice(0, 10))
    study.behavior(ODD, "probability", (recorded.data[0][:7], recorded.data[1][:7]), target=3)
    study.behavior("own", lambda model, examples: model(examples[0])[:, 0], recorded.data)
    bundle = shown(study)
    assert "stage first: 10 steps" in bundle["text/plain"]
    assert "probability(target=3) on 7 examples" in bundle["text/plain"]
    assert "24 steps of SGD" in bundle["text/html"]
    assert "<script>" not in bundle["text/html"]
    assert "probability" in shown(study.behaviors[ODD])["text/plain"]
    assert "<script>" not in shown(study.behaviors[ODD])["text/html"]


def test_stages_and_trajectories_have_both_forms(shown, recorded):
    study = recorded.study()
    for value in (study.stage("first", slice(0, 10)), study.trajectory, study.steps):
        assert {"text/plain", "text/html"} <= set(shown(value))


def test_pages_are_escaped():
    data = answer().assign_coords(stage=[ODD, "b", "c", "d"])
    assert "<script>" not in answer_html(data)
    assert "&lt;script&gt;" in answer_html(data)
    assert "<script>" not in preformatted(ODD) + table([ODD], [[ODD]], ODD)


def test_no_ink_is_set_that_a_dark_theme_would_swallow():
    for page in (answer_html(answer(trust=True)), preformatted("text"), table(["a"], [["b"]])):
        assert not re.findall(r"(?<![\w-])(?:color|background)\s*:", page)


def test_the_table_says_who_helped():
    data = answer().assign(higher_is_better=("behavior", [True, False]))
    lines = {tuple(line.split()[:2]): line for line in answer_text(data).splitlines()}
    assert "helped" in lines["poisoned", "backdoor"]
    digits = float(data["effect"].sel(stage="poisoned", behavior="digits"))
    assert ("helped" if digits < 0 else "hurt") in lines["poisoned", "digits"]


def test_of_an_exact_number_both_values_of_the_behavior_are_shown():
    data = answer(exact=1)
    observed, effect = data["observed"][0].item(), data["effect"][0, 0].item()
    shown = f"{observed - effect:.4g} → {observed:.4g}".replace("-", "−")
    assert answer_text(data).count(shown) == 1
    assert answer_text(data).count("→") == 1 + data["effect"].sizes["behavior"]  # the header, and of each exact number
    assert "→" not in answer_text(answer())
    assert f"{observed - data['effect'][1, 0].item():.4g}".replace("-", "−") not in answer_text(data)


def test_the_table_of_shares_shows_them():
    data = answer(shares=True)
    text = answer_text(data)
    assert "share" in text.splitlines()[1].split()
    assert f"{data['share'].values[0, 0]:+.4g}" in text
    assert "share" not in answer_text(answer()).splitlines()[1].split()
