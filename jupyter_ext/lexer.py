"""The language for Pygments: colors in exported pages and documentation."""

from __future__ import annotations

from typing import ClassVar

from pygments.lexer import RegexLexer, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

# The words of grammar/aascore.lark; a test compares them.
STATEMENTS = "load stage stages behavior score verify rank plot explain save show help"
CONNECTIVES = "with by every within on per example top using under of where and or not in matches"
AXES = "batches steps"
ATOMS = "true false True False"


def _any(*lists: str) -> words:
    return words(" ".join(lists).split(), prefix=r"\b", suffix=r"\b")


class AascoreLexer(RegexLexer):  # type: ignore[misc]
    """Tokens of ``%%aascore`` cells and ``.aascore`` files."""

    name = "AA-Score"
    aliases: ClassVar = ["aascore"]
    filenames: ClassVar = ["*.aascore"]
    mimetypes: ClassVar = ["text/x-aascore"]
    url = ""

    tokens: ClassVar = {
        "root": [
            (r"\A%%aascore\b.*", Comment.Preproc),
            (r"\s+", Whitespace),
            (r"#.*", Comment.Single),
            (r'"(?:[^"\\\n]|\\.)*"?', String.Double),
            (r"'(?:[^'\\\n]|\\.)*'?", String.Single),
            (r"`[^`\n]*`?", Name),
            (r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", Number),
            (_any(STATEMENTS, CONNECTIVES), Keyword),
            (_any(AXES), Name.Builtin),
            (_any(ATOMS), Keyword.Constant),
            (r"[^\W\d]\w*(?=\s*\()", Name.Function),
            (r"[^\W\d]\w*(?=\s*=(?!=))", Name.Attribute),
            (r"[^\W\d]\w*", Name),
            (r"==|!=|<=|>=|[<>=+\-*/%]", Operator),
            (r".", Punctuation),
        ]
    }
