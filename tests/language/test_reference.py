"""grammar/README.md: every program on it runs, and it speaks of every construct."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aadsl.language.grammar import grammar_file
from aadsl.language.layout import statements_of
from aadsl.statements import STATEMENTS, Session, run
from aadsl.statements.batches import PREDICATES
from aadsl.statements.table import parser
from tests.statements.conftest import tiny  # noqa: F401  (a fixture)

PAGE = (grammar_file().parent / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```aascore\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_program_runs_in_order(tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    folder, names = tiny
    monkeypatch.chdir(folder)
    session = Session()
    results = [run(program, names, session) for program in PROGRAMS]
    assert len(session.answers) == 19
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        space = {"names": names, "session": session}
        exec(code, space)
        assert space["problem"].hint.startswith('did you mean "early"?')
        assert space["problem"].span.column == 7
    assert sum(len(result.charts) for result in results) == 6
    assert (folder / "scores.nc").exists()
    assert (folder / "timeline.svg").read_text().startswith("<svg")
    assert session.study is not None
    steps = {name: mask.values.nonzero()[0].tolist() for name, mask in session.study.stages.items()}
    assert steps["late"] == [20, 21, 22, 23]
    assert steps["poisoned"] == [10, 11, 12]
    assert steps["ending"] == [20, 21, 22, 23]
    assert steps["a"] == [10, 11, 12]
    assert steps["b"] == [0, 6, 12, *range(16, 24)]
    assert steps["c"] == [step for step in range(8, 24) if step not in (9, 10)]
    assert steps["window[6:12]"] == [6, 7, 8, 9]


def test_the_page_speaks_of_every_statement_word_and_rule() -> None:
    code = "\n".join(PROGRAMS)
    parsed = parser().parse(code)
    assert parsed.problems == ()
    shown = {type(statement) for statement in parsed.statements}
    assert [word for word, nodes in STATEMENTS.items() if not shown & {*nodes}] == []
    for word in parser().words | set(PREDICATES):
        assert re.search(rf"\b{word}\b", code) or word in ("True", "False", "batches", "false"), word
    words = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("## Words of the language") :]))
    assert words == parser().words


def test_the_programs_use_every_rule_of_the_grammar() -> None:
    # a rule that begins with "?" leaves no trace where it holds one thing, and "_" none at all
    rules = parser().lark.rules
    traced = {
        rule.alias or str(rule.origin.name)
        for rule in rules
        if rule.alias or not (rule.options.expand1 or rule.origin.name.startswith("_"))
    }
    used = {"positional"}  # parsed only to say that options are given by name
    for program in PROGRAMS:
        for extent in statements_of(program, parser().openers):
            tree = parser().lark.parse(program[extent.start : extent.stop])
            used |= {str(subtree.data) for subtree in tree.iter_subtrees()}
    assert {name for name in traced if not name.startswith("__")} == used
