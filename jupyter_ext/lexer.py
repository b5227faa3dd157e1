"""The language for Pygments: colors in exported pages and documentation."""

from __future__ import annotations

from typing import ClassVar

from pygments.lexer import RegexLexer, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from aadsl.language.grammar import reserved_words

WORDS = reserved_words()


def _any(*lists: list[str]) -> words:
    return words([word for listed in lists for word in listed], prefix=r"\b", suffix=r"\b")


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
            (_any(WORDS.statements, WORDS.connectives), Keyword),
            (_any(WORDS.axes), Name.Builtin),
            (_any(WORDS.atoms), Keyword.Constant),
            (r"[^\W\d]\w*(?=\s*\()", Name.Function),
            (r"[^\W\d]\w*(?=\s*=(?!=))", Name.Attribute),
            (r"[^\W\d]\w*", Name),
            (r"==|!=|<=|>=|[<>=+\-*/%]", Operator),
            (r".", Punctuation),
        ]
    }
