"""Where a cursor stands in a program: the half-typed word, and what the grammar lets stand there."""

from __future__ import annotations

from dataclasses import dataclass

from lark import UnexpectedInput

from aadsl.language.characters import readable
from aadsl.language.layout import LEXEMES, statements_of
from aadsl.language.parser import LONGEST, Parser
from aadsl.language.syntax_errors import QUOTES, SILENT, keyword


@dataclass(frozen=True)
class Bracket:
    """An open bracket, and the lexemes before it that say what it belongs to."""

    symbol: str
    before: tuple[str, ...]

    @property
    def word(self) -> str:
        """The lexeme before the bracket: what is called, or the family whose member stands here."""
        return self.before[-1] if self.before else ""


@dataclass(frozen=True)
class Cursor:
    """A place in a program.

    Attributes:
        statement: where the statement begins.
        fragment: the half-typed word or text before the cursor, which a completion replaces.
        lexemes: the statement up to the fragment.
        terminals: the names of the grammar's terminals that may follow.
        words: the language's words that may follow.
        clause: the last word that opened a part of the statement: ``where``, ``on``; ``=`` after a defined name.
        brackets: the open brackets, the innermost last.
    """

    statement: int
    fragment: str
    lexemes: tuple[str, ...]
    terminals: frozenset[str]
    words: tuple[str, ...]
    clause: str
    brackets: tuple[Bracket, ...]

    def argument_of(self, clause: str) -> str:
        """Return the lexeme that follows the last ``clause``: ``test`` for ``on test where``."""
        places = [place for place, lexeme in enumerate(self.lexemes[:-1]) if lexeme == clause]
        return self.lexemes[places[-1] + 1] if places else ""


def cursor_at(parser: Parser, text: str, position: int) -> Cursor:
    """Return the place of a cursor at ``text[position]``; only what stands before it counts."""
    if position > LONGEST:  # of what is too long to be a program
        return Cursor(position, "", (), frozenset(), (), "", ())
    before = readable(text[: position + 1])[:position]
    extents = list(statements_of(before, parser.openers))
    start = extents[-1].start if extents else position
    if extents and _is_over(before, extents[-1].stop, parser):
        start = position
    fragment = _fragment(before[start:])
    if fragment is None:
        return Cursor(start, "", (), frozenset(), (), "", ())
    statement = before[start : position - len(fragment)]
    lexemes = tuple(match.group() for match in LEXEMES.finditer(statement) if match.lastgroup not in SILENT)
    terminals = _accepted(parser, statement)
    words = sorted(filter(None, (keyword(parser.lark, terminal) for terminal in terminals)))
    clause, brackets = _structure(lexemes, parser)
    return Cursor(start, fragment, lexemes, terminals, tuple(words), clause, brackets)


def _is_over(before: str, stop: int, parser: Parser) -> bool:
    """Return whether the cursor stands on a line after the last statement, which does not go on there."""
    if "\n" not in before[stop:]:
        return False
    probe = before + "x"  # a further word joins the statement only where it goes on
    return len(list(statements_of(probe, parser.openers))) > len(list(statements_of(before, parser.openers)))


def _fragment(statement: str) -> str | None:
    """Return the half-typed word or the text without a closing quote at the end; None inside a comment."""
    last = None
    for match in LEXEMES.finditer(statement):
        if match.group() in QUOTES and "\n" not in statement[match.start() :]:
            return statement[match.start() :]
        last = match
    if last is None or last.lastgroup not in ("word", "comment"):
        return ""
    return last.group() if last.lastgroup == "word" else None


def _accepted(parser: Parser, statement: str) -> frozenset[str]:
    state = parser.lark.parse_interactive(statement)
    try:
        state.exhaust_lexer()
    except UnexpectedInput:
        return frozenset()
    return frozenset(state.accepts())  # type: ignore[no-untyped-call]


def _structure(lexemes: tuple[str, ...], parser: Parser) -> tuple[str, tuple[Bracket, ...]]:
    """Return the clause and the open brackets at the end of a statement's beginning."""
    clause = ""
    stack: list[tuple[Bracket, str]] = []
    for place, lexeme in enumerate(lexemes):
        if lexeme in "([":
            stack.append((Bracket(lexeme, lexemes[:place]), clause))
        elif lexeme in ")]" and stack:
            clause = stack.pop()[1]
        elif lexeme in parser.clauses:
            clause = lexeme
        elif lexeme == "=" and place == 2:
            clause = f"{clause} ="
    return clause, tuple(bracket for bracket, _ in stack)
