"""Write a program in the one style: the same words in the same order, the spaces between them made regular.

Comments, line breaks inside statements and single blank lines stay where they are. A statement that does not parse is
left as it stands, and so is a text that is too long to be a program.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from aadsl.language.characters import readable
from aadsl.language.layout import LEXEMES, Extent, statements_of
from aadsl.language.parser import LONGEST, Parser

INDENT = "    "
OPERATORS = frozenset(["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "="])


def format_program(text: str, parser: Parser) -> str:
    """Return ``text`` in the one style. Formatting twice changes nothing more; the meaning stays the same."""
    if len(text) > LONGEST:
        return text
    text = readable(text)
    pieces: list[str] = []
    end = 0
    for extent in statements_of(text, parser.openers):
        pieces += [_between(text[end : extent.start], after_statement=end > 0), _statement(text, extent, parser)]
        end = extent.stop
    pieces.append(_between(text[end:], after_statement=end > 0))
    whole = "".join(pieces).strip()
    return f"{whole}\n" if whole else ""


def _between(gap: str, after_statement: bool) -> str:
    """Return what stands between two statements: comments, and at most one blank line at a time."""
    lines = [line.strip() for line in gap.split("\n")]
    if after_statement and lines[0]:
        lines[0] = f"  {lines[0]}"
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _statement(text: str, extent: Extent, parser: Parser) -> str:
    """Return one statement, its continuation lines indented."""
    if parser.parse(text[extent.start : extent.stop]).problems:
        return text[extent.start : extent.stop]
    lines = [""]
    lexemes: list[str] = []
    for match in LEXEMES.finditer(text, extent.start, extent.stop):
        lexeme = match.group()
        if match.lastgroup == "newline":
            lines.append("")
        elif match.lastgroup == "comment":
            lines[-1] += f"{'  ' if lines[-1] else ''}{lexeme.rstrip()}"
        elif match.lastgroup != "space":
            lines[-1] += (_gap(lexemes, lexeme, parser.words) if lines[-1] else "") + lexeme
            lexemes.append(lexeme)
    return f"\n{INDENT}".join(line for line in lines if line)


def _gap(before: list[str], right: str, reserved: Collection[str]) -> str:
    """Return the space between what stands ``before`` and the lexeme that follows."""
    left = before[-1]
    if left in ("(", "[", ":") or right in (")", "]", ",", ":") or _is_sign(before, reserved):
        return ""
    if right in ("(", "["):
        return "" if _is_operand(left, reserved) or left in ("steps", "batches") else " "
    if "=" in (left, right):
        defines = before[0] != "load" and len(before) == (3 if left == "=" else 2)
        return " " if defines else ""
    return " "


def _is_sign(before: list[str], reserved: Collection[str]) -> bool:
    """Return whether the last lexeme is the sign of what follows it, not an operator between two."""
    return before[-1] == "-" and (len(before) < 2 or not _is_operand(before[-2], reserved))


def _is_operand(lexeme: str, reserved: Collection[str]) -> bool:
    """Return whether a lexeme ends a value: a name, a number, a text, a closing bracket."""
    if lexeme in ("true", "false", "True", "False"):
        return True
    return lexeme not in OPERATORS and lexeme not in ("(", "[", ",", ":") and lexeme not in reserved
