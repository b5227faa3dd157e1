"""Statements, their places, and where one ends and the next begins."""

from __future__ import annotations

import pytest
from lark import Lark
from lark.lexer import PatternStr

from aadsl.language.grammar import grammar_text, rules_text, words_of_the_grammar
from aadsl.language.layout import statements_of
from aadsl.language.syntax_errors import NOUNS, keyword
from aadsl.statements import STATEMENTS
from aadsl.statements.table import parser


def cut(text: str) -> list[str]:
    return [text[extent.start : extent.stop] for extent in statements_of(text, parser().openers)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n  # only a comment\n\n", []),
        ("show\nhelp", ["show", "help"]),
        ("show # help\nhelp", ["show", "help"]),
        ("show\r\nhelp\r\n", ["show", "help"]),
        ("score a,\n  b on c", ["score a,\n  b on c"]),
        ("score a, # first\n\n  b on c", ["score a, # first\n\n  b on c"]),
        ("stage a = b or\n c", ["stage a = b or\n c"]),
        ("stage a =\n b", ["stage a =\n b"]),
        ("stage a = b\n or c", ["stage a = b", "or c"]),  # an operator at the beginning of a line is too late
        ("stage a = steps where x in [1,\n2\n]", ["stage a = steps where x in [1,\n2\n]"]),
        ("stage a = (steps[0:3]\n or b)\nshow", ["stage a = (steps[0:3]\n or b)", "show"]),
        ("stage a = (b\nstage c = d", ["stage a = (b", "stage c = d"]),  # a forgotten bracket spoils one statement
        ('stage a = steps where t == "x\\"\n"\nshow', ['stage a = steps where t == "x\\"', '"', "show"]),
        ('stage a = steps where t == "# [ ("\nshow', ['stage a = steps where t == "# [ ("', "show"]),
        ("stagee a\nscores", ["stagee a", "scores"]),
    ],
)
def test_where_a_statement_ends(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


def test_nodes_know_their_places_in_the_whole_text() -> None:
    text = '\n  stage poisoned = batches where tag=="badnet" and\n    epoch < 3\nscore poisoned on backdoor'
    stage, score = parser().parse(text).statements
    lines = text.split("\n")

    def shown(node: object) -> str:
        span = node.span  # type: ignore[attr-defined]
        return lines[span.line - 1][span.column - 1 : span.end_column - 1]

    condition = stage.selection.condition
    assert shown(stage.name) == "poisoned"
    assert shown(condition.operands[0]) == 'tag=="badnet"'
    assert shown(condition.operands[1]) == "epoch < 3"
    assert shown(condition.operands[1].parts[0]) == "epoch"
    assert shown(score.behaviors[0]) == "backdoor"
    assert shown(stage.selection) == 'batches where tag=="badnet" and'  # what goes on below is shown to the line's end


@pytest.mark.parametrize("word", sorted(parser().words))
def test_words_end_where_they_end_and_cannot_be_names(word: str) -> None:
    assert parser().parse(f"stage {word}x = steps").problems == ()
    assert parser().parse(f"stage {word}_ = steps").problems == ()
    assert parser().parse(f"stage `{word}` = steps").problems == ()
    (problem,) = parser().parse(f"stage {word} = steps").problems
    assert problem.span is not None
    assert "in backticks it is a name" in problem.hint or problem.span.column == 1


@pytest.mark.parametrize("word", STATEMENTS)
def test_a_longer_word_is_no_statement(word: str) -> None:
    for longer in (f"{word}e", f"{word}1", f"{word}_"):
        (problem,) = parser().parse(f"{longer} p = steps[0:3]").problems
        assert problem.message == f'no statement "{longer}"'


def test_the_grammar_is_unambiguous() -> None:
    """Strict mode refuses conflicts of rules and terminals that match the same text (with interegular installed)."""
    pytest.importorskip("interegular")
    Lark(grammar_text(rules_text()), parser="lalr", lexer="contextual", strict=True)
    ambiguous = grammar_text(rules_text()).replace("?sum: product", "?sum: product | name")
    with pytest.raises(Exception, match=r"(?i)conflict|collision"):
        Lark(ambiguous, parser="lalr", lexer="contextual", strict=True)


def test_the_words_are_those_that_the_rules_name() -> None:
    words = words_of_the_grammar()
    assert {word for kind in words for word in kind} == parser().words
    # `examples` begins a statement, and is a name elsewhere: `plot examples`.
    assert {*words.statements, "examples"} == parser().openers == {*STATEMENTS}


def test_values_are_read_as_written() -> None:
    def value(text: str) -> object:
        (statement,) = parser().parse(f"stage a = steps where x == {text}").statements
        return statement.selection.condition.parts[2].value

    for text, expected in [("3", 3), ("3.", 3.0), (".5", 0.5), ("1e-3", 1e-3), ("2E+2", 200.0), ("true", True)]:
        assert (value(text), type(value(text))) == (expected, type(expected))
    assert value(r'"a\"b\\c\d"') == r'a"b\c\d'
    assert value("'it\\'s'") == "it's"
    assert value("9" * 30) == float("9" * 30)


def test_meaning_does_not_depend_on_spaces() -> None:
    tight = 'stage a=steps[0:9]where(x+1)*2>=3 and not t in["b"]or y%2==0'
    loose = '  stage a = steps [ 0 : 9 ] where ( x + 1 ) * 2 >= 3 and not t in [ "b" ] or y % 2 == 0 # x'
    assert parser().parse(tight).statements == parser().parse(loose).statements


def test_what_is_expected_is_told_in_words_and_never_as_a_pattern() -> None:
    lark = parser().lark
    told = {terminal for terminal in lark.terminals if terminal.name in NOUNS or keyword(lark, terminal.name)}
    others = [one for one in lark.terminals if one not in told and one.name not in lark.ignore_tokens]
    assert others and all(isinstance(one.pattern, PatternStr) for one in others)
