"""Say what is wrong with a statement that does not parse, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from re import Match

from lark import Lark, UnexpectedInput, UnexpectedToken

from aadsl.errors import Problem, did_you_mean
from aadsl.language.layout import LEXEMES, Extent
from aadsl.language.source import Source

END = "$END"
SILENT = ("space", "newline", "comment")
NOUNS = {
    "NAME": "a name",
    "TOPIC": "a topic",
    "NUMBER": "a number",
    "INTEGER": "a whole number",
    "STRING": "text in quotes",
    "BOOLEAN": "true or false",
    "AXIS": "`steps` or `batches`",
    "COMPARISON": "a comparison (==, !=, <, <=, >, >=)",
    END: "the end of the statement",
}
OPERATORS = {"&": "and", "&&": "and", "|": "or", "||": "or", "!": "not", "~": "not"}


@dataclass(frozen=True)
class Place:
    """Where parsing stopped.

    Attributes:
        found: the lexeme there, or an empty string at the end of the statement.
        accepted: the names of the terminals that could stand there.
        words: the language's words that could stand there.
        before: the lexemes of the statement before it.
    """

    found: str
    accepted: frozenset[str]
    words: tuple[str, ...]
    before: tuple[str, ...]


def explain_syntax(error: UnexpectedInput, parser: Lark, source: Source, extent: Extent) -> Problem:
    """Return the problem that ``error`` stands for."""
    lexemes = [
        match for match in LEXEMES.finditer(source.text, extent.start, extent.stop) if match.lastgroup not in SILENT
    ]
    at_end = isinstance(error, UnexpectedToken) and error.token.type == END
    start = extent.stop if at_end else error.pos_in_stream or extent.start
    accepted = frozenset(error.interactive_parser.accepts())  # type: ignore[no-untyped-call]
    place = Place(
        found=next((match.group() for match in lexemes if match.end() > start), ""),
        accepted=accepted,
        words=tuple(sorted(filter(None, (keyword(parser, terminal) for terminal in accepted)))),
        before=tuple(match.group() for match in lexemes if match.end() <= start),
    )
    if at_end and (bracket := _never_closed(lexemes)):
        return source.problem(source.span(*bracket.span()), f'this "{bracket.group()}" is never closed')
    span = source.span(start, start + max(1, len(place.found)))
    if not place.before:
        hint = f"statements: {', '.join(place.words)}"
        close = did_you_mean(place.found.lower(), place.words)
        return source.problem(span, f'no statement "{place.found}"', f"{close} {hint}".strip())
    message = f'unexpected "{place.found}"' if place.found else "the statement ends too early"
    hint = next((hint for rule in RULES if (hint := rule(place))), "")
    return source.problem(span, message, hint or _expectation(place, parser))


def keyword(parser: Lark, terminal: str) -> str:
    r"""Return the word that a terminal like ``_STAGE: /stage\b/`` stands for, else an empty string."""
    if not terminal.startswith("_") or terminal.startswith("__"):
        return ""
    return parser.get_terminal(terminal).pattern.value.removesuffix(r"\b")


def _expectation(place: Place, parser: Lark) -> str:
    nouns = [noun for terminal, noun in NOUNS.items() if terminal in place.accepted]
    words = [f"`{word}`" for word in place.words]
    symbols = [
        f'"{parser.get_terminal(terminal).pattern.value}"'
        for terminal in sorted(place.accepted)
        if terminal not in NOUNS and not keyword(parser, terminal)
    ]
    return f"expected: {', '.join([*nouns, *words, *symbols])}"


def _never_closed(lexemes: Sequence[Match[str]]) -> Match[str] | None:
    """Return the innermost opening bracket without a partner."""
    stack: list[Match[str]] = []
    for match in lexemes:
        if match.lastgroup == "open":
            stack.append(match)
        elif match.lastgroup == "close" and stack:
            stack.pop()
    return stack[-1] if stack else None


def _operator(place: Place) -> str:
    if place.found in OPERATORS:
        return f"write `{OPERATORS[place.found]}`"
    if place.found == "=" and "COMPARISON" in place.accepted:
        return 'a comparison is written with two signs: "=="'
    if place.found == "==" and "EQUAL" in place.accepted:
        return 'this is written with one sign: "="'
    if place.found == "is" and "COMPARISON" in place.accepted:
        return 'a comparison is written "=="'
    return ""


def _slice(place: Place) -> str:
    inside = "[" in place.before and place.before[-1] not in ("[",) and "COLON" in place.accepted
    if inside and place.found == "]":
        return f"a slice needs a colon: step {place.before[-1]} alone is steps[{place.before[-1]}:{place.before[-1]}+1]"
    return "a slice is written as in Python, for example steps[0:100]" if inside else ""


def _unclosed_text(place: Place) -> str:
    return "this text has no closing quote" if place.found in ('"', "'", "`") else ""


def _braces(place: Place) -> str:
    return "lists are written in square brackets: [4, 9]" if place.found in ("{", "}") else ""


def _semicolon(place: Place) -> str:
    return "statements stand on lines of their own" if place.found == ";" else ""


def _ambiguous_where(place: Place) -> str:
    if place.found == "where" and "_AND" in place.accepted and "_WHERE" not in place.accepted:
        return "say what `where` belongs to with parentheses: a or (steps where …), (a or b) where …"
    return ""


def _quotes(place: Place) -> str:
    if place.found[:1].isalnum() and place.accepted == {"STRING"}:
        return "text stands in quotes"
    return ""


def _whole_number(place: Place) -> str:
    return "a whole number is needed" if place.found[:1] == "." and "INTEGER" not in place.accepted else ""


def _near_word(place: Place) -> str:
    return did_you_mean(place.found.lower(), place.words) if place.found.isidentifier() else ""


RULES: tuple[Callable[[Place], str], ...] = (
    _operator,
    _slice,
    _unclosed_text,
    _braces,
    _semicolon,
    _ambiguous_where,
    _quotes,
    _near_word,
)
"""Each returns the way out of a common mistake, or an empty string; the first that knows one is taken."""
