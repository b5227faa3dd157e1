"""What stands after each word of a statement: read off the grammar's rules and the fields of the nodes.

A rule's parts are the fields of its node, in order: in ``score: _SCORE references _ON references``, built into a node
with the fields ``stages`` and ``behaviors``, behaviors stand after ``on``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache

from lark.grammar import Rule
from lark.utils import classify

from aadsl.language import Node, Parser
from aadsl.language.cursor import Cursor
from aadsl.language.syntax_errors import keyword
from aadsl.statements.table import parser


def fields_at(place: Cursor) -> tuple[str, ...]:
    """Return the fields that may stand after the clause of a place; in conditions, ``where`` is a clause of its own."""
    found = _fields(parser()).get((word_of(place.lexemes), place.clause), ())
    return found or (("where",) if place.clause == "where" else ())


def word_of(lexemes: Sequence[str]) -> str:
    """Return the word of the statement that begins with ``lexemes``, of ``explain score`` that of the question."""
    asked = lexemes[1:] if lexemes[:1] == ("explain",) and len(lexemes) > 1 else lexemes
    return asked[0] if asked and asked[0] in parser().table else ""


@cache
def _fields(language: Parser) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the fields by the word of the statement and the clause."""
    longest = {
        str(name): max(rules, key=lambda rule: len(rule.expansion))
        for name, rules in classify(language.lark.rules, lambda rule: rule.origin.name).items()
    }
    found: dict[tuple[str, str], dict[str, None]] = {}
    for word, nodes in language.table.items():
        for node in nodes:
            rule = longest.get(_rule_name(node))
            for clause, field in () if rule is None else _parts(language, rule, node):
                found.setdefault((word, clause), {})[field] = None
    return {place: tuple(names) for place, names in found.items()}


def _parts(language: Parser, rule: Rule, node: type[Node]) -> Iterator[tuple[str, str]]:
    """Yield each part of a rule: the clause that it stands in, and its field."""
    names = iter([field.name for field in fields(node) if field.name != "span"])
    clause, words = "", list[str]()
    for place, symbol in enumerate(rule.expansion):
        word = keyword(language.lark, symbol.name) if symbol.is_term else ""
        if word:  # of two in a row the second may be left out: _SHARES [_OF] references
            clause, words = word, [*words, word]
        elif symbol.is_term and symbol.filter_out:  # type: ignore[attr-defined]  # terminals have it
            clause = f"{clause} =" if place == 2 else clause
        else:
            field = next(names)
            yield from ((other, field) for other in words or [clause])
            words = []


def _rule_name(node: type[Node]) -> str:
    name = node.__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("_")
