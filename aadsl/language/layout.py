"""Cut a program into statements.

A statement ends with its line, or goes on: inside brackets, after a comma and after an operator. A line that opens
with a statement's own word always begins a new statement, so that a forgotten bracket spoils one statement only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aadsl.language.grammar import MARK

LEXEMES = re.compile(
    rf"""
    (?P<string>  "(?:[^"\\\n]|\\.)*+" | '(?:[^'\\\n]|\\.)*+' | `[^`\n]+` )
  | (?P<comment> \#[^\n]* )
  | (?P<number>  (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? )
  | (?P<word>    [^\W\d](?:\w|{MARK})* )
  | (?P<open>    [\[({{] )
  | (?P<close>   [\])}}] )
  | (?P<operator> == | != | <= | >= | [-+*/%<>=,:] )
  | (?P<newline> \n )
  | (?P<space>   [^\S\n]+ )
  | (?P<other>   . )
    """,
    re.VERBOSE,
)
"""Every character of a program belongs to exactly one lexeme; nothing fails here, errors are the grammar's to find.

Texts are matched possessively: a place to come back to for every character would take 400 bytes each.
"""

CONTINUING_WORDS = frozenset({"and", "or", "not", "in", "matches"})


@dataclass(frozen=True)
class Extent:
    """The half-open range ``text[start:stop]`` of one statement, without surrounding blank lines."""

    start: int
    stop: int


def statements_of(text: str, openers: frozenset[str]) -> Iterator[Extent]:
    """Yield the extents of the statements of ``text``; ``openers`` are the words that begin a statement."""
    start: int | None = None
    stop = depth = 0
    goes_on = False
    for match in LEXEMES.finditer(text):
        kind, lexeme = match.lastgroup, match.group()
        if kind in ("space", "comment"):
            continue
        if kind == "newline":
            if start is not None and depth == 0 and not goes_on:
                yield Extent(start, stop)
                start = None
            continue
        if start is not None and lexeme in openers and _first_of_line(text, match.start()):
            yield Extent(start, stop)
            start = None
        if start is None:
            start, depth = match.start(), 0
        depth = max(0, depth + (kind == "open") - (kind == "close"))
        # With a backslash it is meant to go on, and is mistaken as one statement.
        goes_on = (kind == "operator" and lexeme != ":") or lexeme in CONTINUING_WORDS or lexeme == "\\"
        stop = match.end()
    if start is not None:
        yield Extent(start, stop)


def _first_of_line(text: str, position: int) -> bool:
    return not text[text.rfind("\n", 0, position) + 1 : position].strip()
