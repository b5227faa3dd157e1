"""Say what is wrong with a statement that does not parse, and the way out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from re import Match

from lark import Lark, UnexpectedInput, UnexpectedToken

from aadsl.core.errors import Problem, did_you_mean
from aadsl.core.families import AXES
from aadsl.language.characters import ascii_of, invisible, unicode_name
from aadsl.language.layout import LEXEMES, Extent
from aadsl.language.source import ProgramText

END = "$END"
QUOTES = ('"', "'", "`")
SILENT = ("space", "newline", "comment")
NOUNS = {
    "NAME": "a name",
    "TRAJECTORY": "a name",
    "OPTION": "a name",
    "TOPIC": "a topic",
    "NUMBER": "a number",
    "SIGNED": "a number",
    "INTEGER": "a whole number",
    "STRING": "text in quotes",
    "BOOLEAN": "true or false",
    "AXIS": "`steps` or `batches`",
    "COMPARISON": "a comparison (==, !=, <, <=, >, >=)",
    END: "the end of the statement",
}
TAKES_STEPS = ("score", "verify", "shares", "examples")
MISSPELLED = {("==", "="): "==", ("<", ">"): "!=", ("=", ">"): ">=", ("=", "<"): "<=", ("=", "="): "=="}
CLOSING = {"(": ")", "[": "]", "{": "}"}
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


def explain_syntax(
    error: UnexpectedInput, parser: Lark, source: ProgramText, extent: Extent, reserved: Collection[str]
) -> Problem:
    """Return the problem that ``error`` stands for; ``reserved`` are the words that cannot be names."""
    lexemes = [
        match for match in LEXEMES.finditer(source.text, extent.start, extent.stop) if match.lastgroup not in SILENT
    ]
    at_end = isinstance(error, UnexpectedToken) and error.token.type == END
    start = extent.stop if at_end else error.pos_in_stream or extent.start
    here = None if at_end else LEXEMES.match(source.text, start, extent.stop)
    if odd := next((match for match in lexemes if match.lastgroup == "other" and invisible(match.group())), None):
        message = f"unexpected {unicode_name(odd.group())}, which cannot be seen"
        return source.problem(source.span(*odd.span()), message, "delete it: pasted text may hold such characters")
    accepted = frozenset(error.interactive_parser.accepts())  # type: ignore[no-untyped-call]
    place = Place(
        found=here.group() if here else "",
        accepted=accepted,
        words=tuple(sorted(filter(None, (keyword(parser, terminal) for terminal in accepted)))),
        before=tuple(match.group() for match in lexemes if match.start() < start),
    )
    bracket = _never_closed(lexemes)
    empty = bracket is not None and place.before[-1:] == (bracket.group(),)
    cut_off = bracket is not None and place.found in reserved and (empty or _ends(parser, place, bracket))
    if bracket and bracket.start() < start and (at_end or cut_off):
        closing, where = CLOSING[bracket.group()], "where it ends" if at_end else f"before `{place.found}`"
        hint = f'write what stands in it, and "{closing}"; or leave it out' if empty else f'write "{closing}" {where}'
        return source.problem(source.span(*bracket.span()), f'this "{bracket.group()}" is never closed', hint)
    span = source.span(start, start + max(1, len(place.found)))
    shown = place.found if place.found[:1] in QUOTES else f'"{place.found}"'
    if not place.before:
        return source.problem(span, f"no statement {shown}", _which_statement(place))
    message = f"unexpected {shown}" if place.found else "the statement ends too early"
    hint = next((hint for rule in RULES if (hint := rule(place))), "")
    return source.problem(span, message, hint or _expectation(place, parser, reserved))


def keyword(parser: Lark, terminal: str) -> str:
    r"""Return the word that a terminal like ``_STAGE: /stage\b/`` stands for, else an empty string."""
    if not terminal.startswith("_") or terminal.startswith("__"):
        return ""
    word = re.match(r"\w+", parser.get_terminal(terminal).pattern.value)
    return word.group() if word else ""


def _expectation(place: Place, parser: Lark, reserved: Collection[str]) -> str:
    nouns = dict.fromkeys(noun for terminal, noun in NOUNS.items() if terminal in place.accepted)
    words = [f"`{word}`" for word in place.words]
    symbols = [
        f'"{parser.get_terminal(terminal).pattern.value}"'
        for terminal in sorted(place.accepted)
        if terminal not in NOUNS and not keyword(parser, terminal)
    ]
    expected = f"expected: {', '.join([*nouns, *words, *symbols])}"
    if "NAME" in place.accepted and place.found in reserved:
        return f"{expected} (`{place.found}` is a word of the language; in backticks it is a name)"
    return expected


def _which_statement(place: Place) -> str:
    if place.found in AXES:
        return f"to name a set of steps: stage NAME = {place.found}[0:100]"
    close = did_you_mean(unicodedata.normalize("NFKC", place.found).lower(), place.words)
    return f"{close} statements: {', '.join(place.words)}".strip()


def _never_closed(lexemes: Sequence[Match[str]]) -> Match[str] | None:
    """Return the innermost opening bracket without a partner."""
    stack: list[Match[str]] = []
    for match in lexemes:
        if match.lastgroup == "open":
            stack.append(match)
        elif match.lastgroup == "close" and stack:
            stack.pop()
    return stack[-1] if stack else None


def _ends(parser: Lark, place: Place, bracket: Match[str]) -> bool:
    """Return whether what is in a bracket may end there."""
    symbols = (parser.get_terminal(terminal).pattern.value for terminal in place.accepted if terminal != END)
    return CLOSING[bracket.group()] in symbols


def _operator(place: Place) -> str:
    last = place.before[-1]
    if place.found in OPERATORS and ({"_AND", "_NOT"} & place.accepted):
        return f"write `{OPERATORS[place.found]}`"
    if (last, place.found) in MISSPELLED:
        return f'this comparison is written "{MISSPELLED[last, place.found]}"'
    if place.found == "=" and "COMPARISON" in place.accepted:
        return 'a comparison is written with two signs: "=="'
    if place.found == "==" and "EQUAL" in place.accepted:
        return 'this is written with one sign: "="'
    if place.found == "is" and "COMPARISON" in place.accepted:
        return 'a comparison is written "=="'
    if place.found in ("+", "-", "*") and {"_AND", "_OR"} <= place.accepted:
        return "stages are joined with `or`, and cut with `and` and `and not`"
    if place.found == ":" and "EQUAL" in place.accepted and "(" in place.before:
        return f"options are written with a sign of equality: {last}=…"
    return ""


def _sign(place: Place) -> str:
    plain = ascii_of(place.found)
    if plain in QUOTES:
        return f"text stands in straight quotes: {plain}…{plain}"
    between = place.before[-1] != "[" and "INTEGER" not in place.accepted
    return "" if plain == "-" and "[" in place.before and between else plain and f'did you mean "{plain}"?'


def _slice(place: Place) -> str:
    if place.found == "(" and place.before[-1] in AXES:
        return f"a slice stands in square brackets: {place.before[-1]}[0:100]"
    if place.before[-1] == "[" or "[" not in place.before or "COLON" not in place.accepted:
        return ""
    if place.found == "]":
        sliced = place.before[place.before.index("[") - 1]
        return f"a slice needs a colon: {sliced}[5:6] is {'step' if sliced in AXES else 'example'} 5 alone"
    return "a slice is written as in Python, with whole numbers: steps[0:100]"


def _text(place: Place) -> str:
    if place.found in QUOTES:
        return "this text has no closing quote"
    if place.found[:1].isalnum() and place.accepted == {"STRING"}:
        return "text stands in quotes"
    if place.before[0] == "load" and place.found in ("/", ".", ":", "~", "-"):
        return 'a path stands in quotes: load "runs/name" with …'
    if place.before[-1] == "in" and place.found[:1] in QUOTES:
        return f"a list stands in square brackets: [{place.found}]; parts of a text are found with `matches`"
    if place.found[:1] in QUOTES and {"NAME", "TOPIC"} & place.accepted and "STRING" not in place.accepted:
        return "a name stands without quotes"
    return ""


def _punctuation(place: Place) -> str:
    if place.found in ("{", "}") or (place.found == "(" and place.before[-1] == "in"):
        return "lists are written in square brackets: [4, 9]"
    if place.found == "(" and place.before[-1].isidentifier():
        return "only behaviors, estimators, interventions, charts and predicates are written with parentheses"
    if place.found == ".":
        return "what a Python object holds cannot be reached; give it a name of its own in a cell above"
    if place.found == "\\":
        return "a statement goes on in the next line inside brackets, after a comma and after an operator"
    if place.found == "," and place.before[-1].isdigit() and "COMPARISON" in place.accepted:
        return "a decimal number is written with a point: 0.5"
    if place.found == ";":
        return "statements stand on lines of their own"
    if place.found[:1].isdigit() and place.accepted == {"NAME", "TRAJECTORY"}:
        return "a name begins with a letter"
    return ""


def _clause(place: Place) -> str:
    if place.found == "where" and "where" in place.before and "_AND" in place.accepted:
        return "a selection has one `where`; join its conditions with `and`"
    if place.found == "where" and "_AND" in place.accepted:
        return "say what `where` belongs to with parentheses: a or (steps where …), (a or b) where …"
    if place.found == "with" and "using" in place.words:
        return "did you mean `using`?"
    if place.found == "with" and "as" in place.before:
        return "`with` stands before `as`"
    if place.found in ("", "with") and place.before == ("verify",):
        return "write verify STAGES on BEHAVIORS, or verify trajectory"
    if place.found == "using" and "under" in place.before:
        return "`using` stands before `under`"
    if place.found == "top" and place.before[0] == "rank" and {"using", "under"} & {*place.before}:
        return "`top` stands before `using` and `under`"
    if place.found == "top" and place.before[0] in ("score", "verify") and "on" in place.before:
        return "`top` belongs to `rank`"
    if place.before[0] in TAKES_STEPS and place.before[-1] in AXES and place.found == "on":
        return f"all steps are the whole training; write a part of them, {place.before[-1]}[0:100], or: rank steps on …"
    if place.before[0] == "rank" and place.before[-1] in AXES and place.found in ("[", "where"):
        return "rank takes all steps, or stages: stages part every 1 steps within steps[0:100], then rank part on …"
    if (
        place.before[0] in TAKES_STEPS
        and "on" not in place.before
        and place.found in (*AXES, "and", "or", "not", "where")
    ):
        return (
            f"a set of steps stands in parentheses here: {place.before[0]} (a and not b) …; or is a slice: steps[0:100]"
        )
    return ""


def _near_word(place: Place) -> str:
    return did_you_mean(place.found.lower(), place.words) if place.found.isidentifier() else ""


RULES: tuple[Callable[[Place], str], ...] = (_operator, _sign, _slice, _text, _punctuation, _clause, _near_word)
"""Each returns the way out of common mistakes, or an empty string; the first that knows one is taken."""
