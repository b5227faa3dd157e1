"""The words of the language are the same in the grammar, in JupyterLab's colors and in Pygments'."""

import re
from pathlib import Path

from pygments.lexers import get_lexer_by_name
from pygments.token import Token

from jupyter_ext import lexer

ROOT = Path(__file__).parents[2]
CELL = '%%aascore --out r\nstage warm = steps[0:10] where tag=="a#b" and lr < 1e-3 # why\nplot bars(sort=true)\n'


def grammar_words():
    rules = (ROOT / "grammar" / "aascore.lark").read_text(encoding="utf-8")
    found = re.findall(r"^\w+\.2: /\(?([\w|]+)\)?\\b/$", rules, re.MULTILINE)
    return {word for alternatives in found for word in alternatives.split("|")}


def script_words():
    script = (ROOT / "jupyter_ext" / "lab" / "language.js").read_text(encoding="utf-8")
    lists = re.findall(r"export const \w+ = \[([^\]]*)\]", script)
    return {word for listed in lists for word in re.findall(r"'(\w+)'", listed)}


def lexer_words():
    return {*f"{lexer.STATEMENTS} {lexer.CONNECTIVES} {lexer.AXES} {lexer.ATOMS}".split()}


def test_all_three_know_the_same_words():
    assert len(grammar_words()) > 30
    assert script_words() == grammar_words()
    assert lexer_words() == grammar_words()


def test_statements_are_the_words_that_begin_statements():
    from aadsl.statements import STATEMENTS

    assert set(lexer.STATEMENTS.split()) == set(STATEMENTS)


def test_pygments_finds_the_lexer_and_loses_no_text():
    found = get_lexer_by_name("aascore")
    tokens = list(found.get_tokens(CELL))
    assert "".join(text for _, text in tokens) == CELL
    kinds = {text: kind for kind, text in tokens}
    assert kinds["stage"] is kinds["where"] is Token.Keyword
    assert kinds["steps"] is Token.Name.Builtin
    assert kinds['"a#b"'] in Token.Literal.String
    assert kinds["1e-3"] is Token.Literal.Number
    assert kinds["# why"] in Token.Comment
    assert kinds["bars"] is Token.Name.Function
    assert kinds["%%aascore --out r"] in Token.Comment.Preproc


def test_the_reference_shows_every_statement_and_every_line_of_it_parses():
    from aadsl.statements import STATEMENTS
    from aadsl.statements.program import parser
    from jupyter_ext.reference import PROGRAM

    parsed = parser().parse(PROGRAM)
    assert not parsed.problems
    shown = {type(statement) for statement in parsed.statements}
    missing = [word for word, nodes in STATEMENTS.items() if not shown & set(nodes)]
    assert missing in ([], ["show"])
