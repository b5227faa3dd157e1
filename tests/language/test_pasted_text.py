"""Text that was pasted: what means the same is read, what cannot be read is named with the way out."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aadsl.core.errors import Problem
from aadsl.language.characters import readable
from aadsl.statements import complete, format_program
from aadsl.statements.table import parser
from tests.language.programs import programs

PROGRAM = 'stage s = steps[0:3] # a comment\nscore s on b\nstage t = steps where tag in ["a",\n  "b"]'


@pytest.mark.parametrize("end", ["\r\n", "\r", "\u2028", "\u2029", "\u0085", "\n\f\n", " \n", "\t\n", "\n\n"])
def test_other_ends_of_lines(end: str) -> None:
    parsed = parser().parse(PROGRAM.replace("\n", end))
    assert (parsed.problems, parsed.statements) == ((), parser().parse(PROGRAM).statements)


@pytest.mark.parametrize("space", ["\t", "\u00a0", "\u202f", "\u2009", "\u3000"])
def test_other_spaces(space: str) -> None:
    assert parser().parse(PROGRAM.replace(" ", space)).statements == parser().parse(PROGRAM).statements


def test_a_mark_at_the_beginning() -> None:
    assert parser().parse(f"\ufeff{PROGRAM}").statements == parser().parse(PROGRAM).statements
    assert format_program(f"\ufeff{PROGRAM}") == format_program(PROGRAM)
    assert [item.text for item in complete("\ufeffsta", 4).items] == ["stage", "stages"]


@given(programs, st.sampled_from(["\r", "\r\n", "\u2028"]))
def test_ends_of_lines_change_no_meaning(program: str, end: str) -> None:
    assert (
        parser().parse(program.replace("\r\n", "\n").replace("\n", end)).statements
        == parser().parse(program).statements
    )


@given(st.text())
def test_places_stay_where_they_are(text: str) -> None:
    assert len(readable(text)) == len(text)
    assert readable(readable(text)) == readable(text)


def problem(statement: str) -> Problem:
    (found,) = parser().parse(statement).problems
    assert found.span is not None
    return found


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\u00ad", "U+00AD SOFT HYPHEN"),
        ("\u200f", "U+200F RIGHT-TO-LEFT MARK"),
        ("\u2060", "U+2060 WORD JOINER"),
        ("\ufeff", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("\0", "U+0000"),
    ],
)
@pytest.mark.parametrize("statement", ["stage s| = steps[0:3]", "sta|ge s = steps", "stage s = steps[0:3]|", "show\n|"])
def test_what_cannot_be_seen_is_named(character: str, name: str, statement: str) -> None:
    found = problem(statement.replace("|", character))
    assert found.message == f"unexpected {name}, which cannot be seen"
    assert found.span is not None
    assert found.span.column == statement.split("\n")[-1].index("|") + 1


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("stage s = steps where tag == “a”", 'text stands in straight quotes: "…"'),
        ("stage s = steps where tag == „a“", 'text stands in straight quotes: "…"'),
        ("stage s = steps where tag == ‘a’", "text stands in straight quotes: '…'"),
        ("stage s = steps[−5:]", 'did you mean "-"?'),
        ("stage s = steps[1:–5]", 'did you mean "-"?'),
        ("stage s = steps[0–5]", "a slice is written as in Python"),
        ("stage s ＝ steps", 'did you mean "="?'),
        ("stage s = steps［0:3]", 'did you mean "["?'),
        ("stage s = steps where lr ≤ 1", 'did you mean "<="?'),
        ("stage s = steps where lr ≥ 1", 'did you mean ">="?'),
        ("stage s = steps where lr ≠ 1", 'did you mean "!="?'),
        ("stage s = steps where lr × 2 > 1", 'did you mean "*"?'),
        ("stage s = steps where lr > 1 ∧ lr < 2", 'did you mean "and"?'),
        ("ｓｔａｇｅ s = steps", 'did you mean "stage"?'),
        ("stage s = steps where lr == 0,1", "a decimal number is written with a point"),
        ("stage s = steps[0:3] \\\n or steps[5:6]", "goes on in the next line inside brackets"),
    ],
)
def test_typographic_signs(statement: str, hint: str) -> None:
    assert hint in problem(statement).hint


def test_accents_are_composed() -> None:
    apart = unicodedata.normalize("NFD", "stage früh = steps[0:3]\nscore früh on größe\nstage `ä b` = früh")
    together = unicodedata.normalize("NFC", apart)
    assert apart != together
    assert parser().parse(apart).problems == ()
    assert parser().parse(apart).statements == parser().parse(together).statements
    assert parser().parse(unicodedata.normalize("NFD", "stage früh = steps where")).lost == {"früh"}
