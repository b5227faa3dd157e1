"""A program has a length and a depth; what has more is told so, wherever text is read, in little time and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aadsl
from aadsl.__main__ import main
from aadsl.language import LONGEST
from aadsl.statements import complete
from aadsl.statements.program import format_program
from aadsl.statements.table import parser

MUCH = 10_000_000
TOO_LONG = "this program is too long"
DEEP: dict[str, Callable[[int], str]] = {
    "not": lambda n: "not " * n + "steps",
    "minus": lambda n: "steps where lr > " + "- " * n + "1",
    "sums": lambda n: "steps where lr < " + "+".join(["1"] * n),
    "sets": lambda n: "(steps and " * n + "steps" + ")" * n,
    "wheres": lambda n: "(" * n + "steps" + " where lr > 0)" * n,
}
FLAT: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: "(" * n + "steps" + ")" * n,
    "or": lambda n: " or ".join(["steps"] * n),
    "list": lambda n: f"steps where step in [{','.join(['1'] * n)}]",
}
PIECES = st.sampled_from(
    [
        "stage a = steps\n",
        "(",
        ")",
        "[",
        "not ",
        "- ",
        " where ",
        '"',
        "'",
        "`",
        "\\",
        "x",
        "1",
        ",",
        "\n",
        "# ",
        "\u0301",
    ]
)


@pytest.mark.parametrize("text", ["x" * MUCH, '"' + "x" * MUCH + '"', "score a on b\n" * (MUCH // 10)])
def test_what_is_too_long(text: str) -> None:
    parser()
    tracemalloc.start()
    with pytest.raises(aadsl.AadslError, match=TOO_LONG) as caught:
        aadsl.run(text)
    assert caught.value.problems[0].hint and len(str(caught.value)) < 1000
    assert complete(text, len(text)).items == ()
    assert format_program(text) is text
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_file_that_is_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "program").write_text("x" * (LONGEST + 1))
    assert main(["run", str(tmp_path / "program")]) == 1
    assert TOO_LONG in capsys.readouterr().err


@settings(max_examples=20)
@given(st.lists(PIECES, min_size=1, max_size=4), st.lists(PIECES, max_size=3))
def test_memory_grows_with_the_length(repeated: list[str], rest: list[str]) -> None:
    """Whatever is repeated up to the limit: less than 3 kB a character, and what is wrong is told in a page or two."""
    piece = "".join(repeated)
    for length in (1000, 10_000):
        text = piece * (length // len(piece)) + "".join(rest)
        tracemalloc.start()
        parsed = parser().parse(text)
        assert tracemalloc.get_traced_memory()[1] < 3000 * len(text) + (1 << 20)
        tracemalloc.stop()
        assert len(parsed.problems) <= 101


def test_a_long_text_in_quotes_takes_no_memory_of_its_own() -> None:
    text = 'stage a = steps where tag == "' + "x" * 90_000 + '"'
    tracemalloc.start()
    assert not parser().parse(text).problems
    assert tracemalloc.get_traced_memory()[1] < 20 * len(text)
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [*DEEP, *FLAT])
def test_depth(kind: str) -> None:
    text = {**DEEP, **FLAT}[kind]
    assert parser().parse(f"stage a = {text(30)}").problems == ()
    for count in (100, 300, 330, 1000, 5000):  # Python's own limit lies among them
        problems = parser().parse(f"stage a = {text(count)}").problems
        assert [problem.message for problem in problems] == ["this is nested too deeply"] * (kind in DEEP)


def test_many_mistakes() -> None:
    problems = parser().parse("x\n" * 50_000).problems
    assert len(problems) == 101
    assert "100 mistakes" in problems[-1].hint
    assert [problem.span.line for problem in problems if problem.span] == list(range(1, 102))
