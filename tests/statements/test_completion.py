"""Completion and signature help: a bar marks the cursor."""

from __future__ import annotations

from typing import Any

import pytest

from aadsl.statements import Session, complete, run, signature_at
from tests.statements.snapshots import PRELUDE

CASES: list[tuple[str, set[str]]] = [
    (
        "|",
        {
            "load",
            "stage",
            "stages",
            "behavior",
            "score",
            "verify",
            "check",
            "rank",
            "shares",
            "examples",
            "plot",
            "explain",
            "save",
            "show",
            "help",
        },
    ),
    ("st|", {"stage", "stages"}),
    ("stage x = steps\nsc|", {"score"}),
    ("stage x = steps[0:3] |", {"where", "and", "or"}),
    ("stage x = p|", {"poisoned"}),
    ("stage x = |", {"poisoned", "warmup", "everything", "source", "steps", "batches", "not"}),
    ("stage x = warmup and not p|", {"poisoned"}),
    ("stage x = source[|", {"clean", "badnet"}),
    ("stage x = source[b|", {"badnet"}),
    ("stage x = steps where ta|", {"tag"}),
    ("stage x = steps where tag == |", {'"clean"', '"badnet"', "threshold", "number"}),
    ('stage x = steps where tag == "ba|', {'"badnet"'}),
    ("stage x = steps where epoch == 1 and not tag != |", {'"clean"', '"badnet"', "threshold", "number"}),
    ("stage x = steps where tag in [|", {'"clean"', '"badnet"'}),
    ("stage x = steps where epoch not in [0, |", {"0", "1", "2"}),
    ("stage x = steps where epoch in |", {"chosen", "triggered"}),
    ("stage x = steps where flipped == t|", {"true", "threshold"}),
    ("stage x = steps where sh|", {"share("}),
    ("stage x = steps where share(la|", {"label_noise", "label"}),
    ("stage x = steps where share(label == |", {"4", "9", "threshold", "number"}),
    ("stage x = steps where tag |", {"matches", "in", "not", "and", "or"}),
    ("stage x = (steps where tag == 'clean') |", {"and", "or", "where"}),
    ("stages f |", {"by", "every"}),
    ("stages f by t|", {"tag", "top"}),
    ("stages f every 5 |", {"steps", "batches"}),
    ("stages f by tag within w|", {"warmup"}),
    ("behavior b = lo|", {"log_likelihood", "loss", "loss_fn"}),
    ("behavior b = my|", {"my_metric"}),
    ("behavior b = log_likelihood(|", {"target="}),
    ("behavior b = log_likelihood(target=7, |", set()),
    ("behavior b = margin on t|", {"test", "triggered"}),
    ("behavior b = margin on test |", {"where", "by", "per"}),
    ("behavior b = margin on test where w|", {"writer"}),
    ("behavior b = margin on test where writer == |", {'"ann"', '"bob"', "threshold", "number"}),
    ("behavior b = margin on test by l|", {"label"}),
    ("behavior b = margin on test per |", {"example"}),
    ("score p|", {"poisoned"}),
    ("score poisoned |", {"on"}),
    ("score poisoned, s|", {"source", "steps"}),
    ("score poisoned on |", {"backdoor", "digits", "right"}),
    ("score poisoned on digits[|", {"1", "4", "9"}),
    ("score poisoned on backdoor |", {"using", "under"}),
    ("score poisoned on backdoor using lin|", {"linearized"}),
    ("score poisoned on backdoor using linearized(re|", {"read="}),
    ("score poisoned on backdoor using linearized(read=|", {'"plug_in"', '"linear"'}),
    ("score poisoned on backdoor using linearized(read='linear', c|", {"curvature="}),
    ("score poisoned on backdoor using first_order(curvature=ce|", {"central_difference"}),
    ("score poisoned on backdoor using first_order(curvature=central_difference(|", {"radius="}),
    ("score poisoned on backdoor using linearized() under rew|", {"reweight"}),
    ("verify poisoned on backdoor u|", {"using", "under"}),
    ("verify t|", {"trajectory"}),
    ("verify trajectory |", {"with", "on"}),
    ("verify trajectory with s|", {"samples="}),
    ("rank |", {"steps", "batches", "poisoned", "warmup", "everything", "source"}),
    ("rank steps on backdoor t|", {"top"}),
    ("shares |", {"of", "poisoned", "warmup", "everything", "source", "steps", "batches"}),
    ("shares of |", {"poisoned", "warmup", "everything", "source", "steps", "batches"}),
    ("score (po|", {"poisoned"}),
    ("score (steps where ta|", {"tag"}),
    ('save "a.safetensors" without po|', {"poisoned"}),
    ("shares source on backdoor |", {"under", "with"}),
    ("shares source on backdoor with |", {"permutations="}),
    ("explain shares source on backdoor with p|", {"permutations="}),
    ("examples |", {"of"}),
    ("examples of po|", {"poisoned"}),
    ("examples of poisoned on ba|", {"backdoor"}),
    ("examples of poisoned on backdoor |", {"top", "with"}),
    ("explain examples of poisoned on backdoor with s|", {"self_influence="}),
    ("examples of poisoned on backdoor with self_influence=|", {"true", "false"}),
    ("plot examples of ba|", {"backdoor"}),
    ("plot examples by so|", {"source"}),
    ("plot ti|", {"timeline"}),
    ("plot timeline |", {"of", "by"}),
    ("plot timeline of ba|", {"backdoor"}),
    ("plot timeline of backdoor by so|", {"source"}),
    ("plot timeline by ep|", {"epoch"}),
    ("plot bars by ep|", set()),
    ("check |", {"backdoor", "digits", "right"}),
    ("check backdoor with |", {"samples="}),
    ("explain |", {"score", "verify", "check", "rank", "shares", "examples"}),
    ("explain score po|", {"poisoned"}),
    ("help cur|", {"curvatures"}),
    ("show st|", {"stages"}),
    ("load |", set()),
    ('load "runs/x" |', {"with", "as"}),
    ('load "runs/x" with mo|', {"model="}),
    ('load "runs/x" with model=|', {"net"}),
    ('load "runs/x" with model=net, loss=|', {"loss_fn", "my_metric"}),
    ('load "runs/x" with model=net, data=te|', {"test"}),
    ('load "runs/x" with model=net, un|', {"unverified="}),
    ('load "runs/x" with unverified=|', {"true", "false"}),
    ("stage x = steps # where ta|", set()),
    ("stage new = warmup\nscore n|", {"new"}),
    ("behavior fresh = margin on test by writer\nscore warmup on fresh[|", {"ann", "bob"}),
    ("score poisoned,\n  war|", {"warmup"}),
    ("stage x = )( |", set()),
    ("stage broken = wher\nscore po|", {"poisoned"}),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_what_may_stand_at_the_cursor(text: str, expected: set[str], session: Session, names: dict[str, Any]) -> None:
    run(PRELUDE, names, session)
    stages = dict(session.study.stages)  # type: ignore[union-attr]
    cursor = text.index("|")
    program = text.replace("|", "")
    found = complete(program, cursor, session, names)
    assert {item.text for item in found.items} == expected
    assert all(item.text.startswith(program[found.start : cursor]) for item in found.items)
    assert session.study.stages == stages  # type: ignore[union-attr]


@pytest.mark.parametrize("text", [text for text, expected in CASES if expected])
def test_the_rest_of_the_text_does_not_matter(text: str, session: Session, names: dict[str, Any]) -> None:
    run(PRELUDE, names, session)
    cursor = text.index("|")
    alone = complete(text.replace("|", ""), cursor, session, names)
    assert complete(text.replace("|", "") + " ) = where\nscore", cursor, session, names) == alone


def test_kinds_tell_what_a_proposal_is(session: Session, names: dict[str, Any]) -> None:
    run(PRELUDE, names, session)

    def kind(text: str) -> dict[str, str]:
        return {item.text: item.kind for item in complete(text, len(text), session, names).items}

    assert kind("stage x = ")["poisoned"] == "stage"
    assert kind("stage x = ")["source"] == "family"
    assert kind("stage x = steps where ")["tag"] == "coordinate"
    assert kind("stage x = steps where tag == ")['"clean"'] == "value"
    assert kind("sco")["score"] == "statement"
    assert kind("behavior b = margin on ")["test"] == "python"


def test_signature_help_stands_on_the_open_parenthesis() -> None:
    for text in ("behavior b = log_likelihood(", "behavior b = log_likelihood(target="):
        shown = signature_at(text, len(text))
        assert shown is not None
        assert shown.startswith("log_likelihood([target])")
        assert "the class whose likelihood is meant" in shown
    nested = "score a on b using first_order(curvature=central_difference("
    assert str(signature_at(nested, len(nested))).startswith("central_difference(radius=1.0)")
    assert signature_at("stage x = (steps", 16) is None
    assert signature_at("behavior b = log_likelihood(target=7) on", 40) is None
