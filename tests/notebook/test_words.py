"""The words that JupyterLab and Pygments color are those of the grammar."""

from pygments.lexers import get_lexer_by_name
from pygments.token import Token

from aadsl.language.grammar import reserved_words, words_of_the_grammar
from aadsl.statements import STATEMENTS

CELL = '%%aascore --out r\nstage warm = steps[0:10] where tag=="a#b" and lr < 1e-3 # why\nplot bars(sort=true)\n'


def test_the_words_for_colors_are_those_of_the_grammar():
    assert reserved_words() == words_of_the_grammar(), "say: make words"


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
    from aadsl.statements.table import parser
    from jupyter_ext.reference import PROGRAM

    parsed = parser().parse(PROGRAM)
    assert not parsed.problems
    shown = {type(statement) for statement in parsed.statements}
    missing = [word for word, nodes in STATEMENTS.items() if not shown & set(nodes)]
    assert missing in ([], ["show"])
