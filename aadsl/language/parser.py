"""Parse: text → statements with their places.

The grammar is ``grammar/aascore.lark``; its rules are named after the node classes, which Lark's ``ast_utils`` builds.
The classes of statements are passed in, so the language knows none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.ast_utils import create_transformer
from lark.lexer import TerminalDef
from lark.tree import Meta
from lark.utils import TextSlice

from aadsl.errors import Problem, Span
from aadsl.language import conditions, nodes, selections
from aadsl.language.grammar import grammar_file
from aadsl.language.layout import Extent, statements_of
from aadsl.language.nodes import Node
from aadsl.language.source import END_OF_LINE, Source
from aadsl.language.syntax_errors import explain_syntax, keyword
from aadsl.scalars import member_name

DEFINITION = re.compile(r"(?:stages?|behavior)\s+(\w+)|(load)\b")


@dataclass(frozen=True)
class Parsed:
    """What a text holds: statements, mistakes, and the names that mistaken statements meant to define."""

    source: Source
    statements: tuple[Any, ...]
    problems: tuple[Problem, ...]
    lost: frozenset[str]


class Parser:
    """The grammar, bound to the classes of its statements. Built in well under 100 ms; build it once."""

    def __init__(self, statements: Iterable[type[Node]]) -> None:
        self.lark = Lark(
            grammar_file().read_text(encoding="utf-8"),
            parser="lalr",
            lexer="contextual",
            propagate_positions=True,
            maybe_placeholders=True,
        )
        self.words = frozenset(word for terminal in self.lark.terminals for word in words_of(terminal))
        self.openers = frozenset(filter(None, (keyword(self.lark, t) for t in self._first())))
        self._nodes = _transformer(statements)

    def parse(self, text: str) -> Parsed:
        """Return the statements of ``text``; what does not parse becomes a problem, the rest still counts."""
        source = Source(text)
        statements: list[Node] = []
        problems: list[Problem] = []
        lost: set[str] = set()
        for extent in statements_of(text, self.openers):
            try:
                statements.append(self._statement(text, extent))
            except UnexpectedInput as error:
                problems.append(explain_syntax(error, self.lark, source, extent, self.words))
                if meant := DEFINITION.match(text, extent.start, extent.stop):
                    lost.add(meant[1] or meant[2])
            except RecursionError:
                span = source.span(extent.start, extent.stop)
                problems.append(source.problem(span, "this is nested too deeply", "define a part of it first"))
        return Parsed(source, tuple(statements), tuple(problems), frozenset(lost))

    def _statement(self, text: str, extent: Extent) -> Node:
        tree = self.lark.parse(TextSlice(text, extent.start, extent.stop))
        return cast(Node, self._nodes.transform(tree))

    def _first(self) -> set[str]:
        return set(self.lark.parse_interactive("").accepts())  # type: ignore[no-untyped-call]


def words_of(terminal: TerminalDef) -> list[str]:
    r"""Return the words that a terminal stands for: ``_STAGE: /stage\b/``, ``AXIS: /(batches|steps)\b/``."""
    pattern = terminal.pattern.value
    plain = re.fullmatch(r"\(?([\w|]+?)\)?\\b", pattern)
    return plain[1].split("|") if plain else []


def span_of(meta: Meta) -> Span:
    """Return the place of a parsed rule."""
    return Span(meta.line, meta.column, meta.end_column if meta.end_line == meta.line else END_OF_LINE)


def _placed(inline: bool, meta: bool) -> Callable[..., Any]:
    """Hand a node class its span and its parts, one by one or (``AsList``) as one tuple."""
    del meta  # every node has a place
    if inline:
        return v_args(wrapper=lambda build, _rule, parts, at: build(span_of(at), *parts))
    return v_args(wrapper=lambda build, _rule, parts, at: build(span_of(at), tuple(parts)))


def _transformer(statements: Iterable[type[Node]]) -> Transformer[Token, Any]:
    """Return what turns a parse tree into nodes: expressions of this package and the given statements."""
    transformer: Transformer[Token, Any] = _Parts()
    for module in (nodes, conditions, selections):
        create_transformer(module, transformer, _placed)
    listing = ModuleType("statements")
    vars(listing).update({node.__name__: node for node in statements})
    return cast("Transformer[Token, Any]", create_transformer(listing, transformer, _placed))


class _Parts(Transformer[Token, Any]):
    """Words, values and plain lists; everything else is a node class of the rule's name."""

    def NAME(self, token: str) -> str:
        """Return a name without its backticks."""
        return token[1:-1] if token.startswith("`") else str(token)

    def NUMBER(self, token: str) -> int | float:
        """Return a whole number as int, if it fits 64 bits, any other as float."""
        return int(token) if re.fullmatch("-?[0-9]{1,18}", token) else float(token)

    SIGNED = NUMBER

    def INTEGER(self, token: str) -> int:
        """Return a whole number; one beyond 64 bits counts steps that no run has, so its first digits do."""
        return int(token[:18])

    def STRING(self, token: str) -> str:
        """Return a text without its quotes; a backslash guards quotes and backslashes, elsewhere it is itself."""
        return re.sub(r"\\([\\\"'])", r"\1", token[1:-1])

    def BOOLEAN(self, token: str) -> bool:
        """Return True for ``true`` and ``True``."""
        return token.lower() == "true"

    def __default_token__(self, token: Token) -> str:
        return str(token)

    def member(self, parts: list[Any]) -> str:
        """Return a family member's name; numbers as the language writes them, so 4.0 is 4."""
        return "".join(map(member_name, parts))

    def parenthesized(self, parts: list[Any]) -> tuple[Any, ...]:
        """Return the arguments between parentheses, which may be none."""
        return parts[0] or ()

    def per_example(self, _parts: list[Any]) -> bool:
        """Return that the words are there."""
        return True

    def topic(self, parts: list[Any]) -> str:
        """Return the topic's word."""
        return cast(str, parts[0])

    def sources(self, parts: list[Any]) -> tuple[Any, ...]:
        """Return a comma-separated list."""
        return tuple(parts)

    arguments = references = sources
