"""``examples of``: what is asked, what is listed, and that the word is a name elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

import aadsl
from aadsl.statements import Session, run
from aadsl.statements.table import parser
from tests.statements.snapshots import PRELUDE

ASKED = "examples of poisoned on backdoor"


def asked(program: str, session: Session, names: dict[str, Any]) -> Any:
    return run(f"{PRELUDE}{program}", names, session)


def test_what_helped_and_what_hurt_is_listed_with_what_it_looks_like(session: Session, names: dict[str, Any]) -> None:
    (*_, text) = asked(f"{ASKED} top 1", session, names).messages
    assert text.split("\n") == [
        "examples of poisoned that helped backdoor most:",
        "   1  example 10  +1.9  exact  label 4  the text of step 0",
        "",
        "examples of poisoned that hurt backdoor most:",
        "   1  example 13  −3  estimate, low trust  label 9  the text of step 3",
        "",
        "trained without it: 1 of 4 examples; there estimates are off by 5%",
    ]


def test_all_options_reach_the_study(session: Session, names: dict[str, Any]) -> None:
    result = asked(f'{ASKED}, digits top 3 with self_influence=true, within="2 min"', session, names)
    behaviors = ("backdoor", "digits[1]", "digits[4]", "digits[9]")
    assert session.study.calls[-1] == ("examples", ("poisoned",), behaviors, 3, True, "2 min")  # type: ignore[union-attr]
    (*_, text) = result.messages
    assert "that lowered their own loss most; mislabeled ones come first:\n   1  example 13" in text


def test_the_frame_has_all_of_them_those_that_helped_first(session: Session, names: dict[str, Any]) -> None:
    frame = asked(ASKED, session, names).frame
    assert frame is not None
    assert frame["example"].tolist() == [10, 11, 12, 13]
    assert frame["effect"].tolist() == [1.9, 1.0, -1.0, -3.0]
    assert frame["exact"].tolist() == [True, False, False, False]
    assert frame["label"].tolist() == [4, 9, 4, 9]


def test_explain_says_what_it_would_take(session: Session, names: dict[str, Any]) -> None:
    assert asked(f"explain {ASKED} top 4", session, names).plan == "plan: 4 examples of 1 stages"


def test_no_chart_takes_the_answer_for_one_about_stages(session: Session, names: dict[str, Any]) -> None:
    result = asked(f"score poisoned on backdoor\n{ASKED}\nplot bars\nplot timeline", session, names)
    assert len(result.charts) == 2
    with pytest.raises(aadsl.AadslError, match="effects of stages"):
        asked(f"{ASKED}\nplot bars", Session(study=session.study), names)


def test_the_word_is_a_name_wherever_a_name_may_stand(session: Session, names: dict[str, Any]) -> None:
    program = "stage examples = steps[2:9]\nbehavior each = margin on examples\nexamples of examples on each"
    asked(program, session, {**names, "examples": names["test"]})
    assert session.study.calls[-1][1:3] == (("examples",), ("each",))  # type: ignore[union-attr]
    assert not parser().parse("plot examples of each by examples").problems
