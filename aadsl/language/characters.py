"""Characters that pasted text brings along: other ends of lines, typographic signs, and what cannot be seen."""

from __future__ import annotations

import re
import unicodedata

_LINE_ENDS = re.compile("\r(?!\n)|[\u0085\u2028\u2029]")
_BOM = "\ufeff"
_SIGNS = {
    **dict.fromkeys("“”„‟«»″", '"'),
    **dict.fromkeys("‘’‚‛‹›′´", "'"),
    **dict.fromkeys("−–—‐‑‒", "-"),
    **dict.fromkeys("×∗·⋅", "*"),
    **dict.fromkeys("÷∕⁄", "/"),
    **dict.fromkeys("≤⩽", "<="),
    **dict.fromkeys("≥⩾", ">="),
    "≠": "!=",
    "∧": "and",
    "∨": "or",
    "¬": "not",
    "∈": "in",
}


def readable(text: str) -> str:
    """Return a program with every end of a line as one that the language knows, and no mark at its beginning.

    As long as ``text``: places in one are places in the other.

    >>> readable("\\ufeffshow\\rhelp\\r\\n")
    ' show\\nhelp\\r\\n'
    """
    if text.startswith(_BOM):
        text = f" {text[1:]}"
    return _LINE_ENDS.sub("\n", text)


def ascii_of(sign: str) -> str:
    """Return the sign of the language that a typographic or full-width one stands for; empty where there is none.

    >>> ascii_of("≤"), ascii_of("＝"), ascii_of("a")
    ('<=', '=', '')
    """
    plain = _SIGNS.get(sign) or unicodedata.normalize("NFKC", sign)
    return plain if plain != sign and plain.isascii() else ""


def invisible(character: str) -> bool:
    """Return whether nothing is seen where this character stands, though it is no space."""
    return unicodedata.category(character) in ("Cf", "Cc", "Co", "Cn") and not character.isspace()


def unicode_name(character: str) -> str:
    """Return what Unicode calls a character.

    >>> unicode_name("\\u200b")
    'U+200B ZERO WIDTH SPACE'
    """
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
