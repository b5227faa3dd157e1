"""Parse: text → statements with their places.

The grammar is ``grammar/aascore.lark``; its rules are named after the node classes, which Lark's ``ast_utils`` builds.
The classes of statements are passed in, so the language knows none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from lark import Lark, Token, Transformer, Tree, UnexpectedInput, v_args
from lark.ast_utils import create_transformer
from lark.lexer import TerminalDef
from lark.tree import Meta
from lark.utils import TextSlice

from aadsl.core.errors import Problem, Span
from aadsl.core.families import composed
from aadsl.core.scalars import member_name
from aadsl.language import conditions, nodes, selections
from aadsl.language.characters import readable
from aadsl.language.grammar import MARK, grammar_text, rules_text
from aadsl.language.layout import CONTINUING_WORDS, Extent, statements_of
from aadsl.language.nodes import Node
from aadsl.language.source import END_OF_LINE, ProgramText
from aadsl.language.syntax_errors import explain_syntax, keyword

LONGEST = 100_000
"""The most characters of a program: some thousand statements, which take a second to read."""

_DEEPEST = 100  # Python calls functions inside each other some 1,000 deep, several for each level
_TOLD = 100  # mistakes

Table = Mapping[str, tuple[type[Node], ...]]
"""The node classes behind each statement's word, the statement itself first."""


@dataclass(frozen=True)
class Parsed:
    """What a text holds.

    Attributes:
        source: the text.
        statements: those that parse.
        problems: what is wrong with the others.
        lost: the names that mistaken statements meant to define.
        table: the statements that the parser knows.
    """

    source: ProgramText
    statements: tuple[Any, ...]
    problems: tuple[Problem, ...]
    lost: frozenset[str]
    table: Table

    def lacks(self, kind: type[Node]) -> bool:
        """Return whether a statement of this kind is missing because it does not parse."""
        words = [word for word, nodes in self.table.items() if issubclass(nodes[0], kind)]
        return any(re.match(rf"\s*({'|'.join(words)})\b", problem.source_line) for problem in self.problems)


class Parser:
    """The grammar, bound to the classes of its statements. Built in well under 100 ms; build it once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.lark = Lark(
            grammar_text(rules_text()),
            parser="lalr",
            lexer="contextual",
            propagate_positions=True,
            maybe_placeholders=True,
        )
        self.words = frozenset(word for terminal in self.lark.terminals for word in words_of(terminal))
        self.openers = frozenset(filter(None, (keyword(self.lark, t) for t in self._first())))
        keywords = {keyword(self.lark, terminal.name) for terminal in self.lark.terminals}
        self.clauses = frozenset(keywords) - CONTINUING_WORDS - {""}
        self._nodes = _transformer(node for nodes in table.values() for node in nodes)
        self._definition = re.compile(rf"(?:{'|'.join(_defining(table))})\s+((?:\w|{MARK})+)|(load)\b")

    def parse(self, text: str) -> Parsed:
        """Return the statements of ``text``; what does not parse becomes a problem, the rest still counts."""
        if len(text) > LONGEST:
            return Parsed(ProgramText(""), (), (_TOO_LONG,), frozenset(), self.table)
        text = readable(text)
        source = ProgramText(text)
        statements: list[Node] = []
        problems: list[Problem] = []
        lost: set[str] = set()
        for extent in statements_of(text, self.openers):
            if len(problems) == _TOLD:
                problems.append(source.problem(source.span(extent.start, extent.stop), "…", _MORE))
                break
            try:
                statements.append(self._statement(text, extent))
            except UnexpectedInput as error:
                problems.append(explain_syntax(error, self.lark, source, extent, self.words))
                if meant := self._definition.match(text, extent.start, extent.stop):
                    lost.add(composed(meant[1] or meant[2]))
            except _TooDeepError:
                span = source.span(extent.start, extent.stop)
                problems.append(source.problem(span, "this is nested too deeply", "define a part of it first"))
        return Parsed(source, tuple(statements), tuple(problems), frozenset(lost), self.table)

    def _statement(self, text: str, extent: Extent) -> Node:
        tree = self.lark.parse(TextSlice(text, extent.start, extent.stop))
        if _deeper(tree, _DEEPEST):
            raise _TooDeepError
        return cast(Node, self._nodes.transform(tree))

    def _first(self) -> set[str]:
        return set(self.lark.parse_interactive("").accepts())  # type: ignore[no-untyped-call]


class _TooDeepError(Exception):
    """A statement has more levels than what goes through it can call itself."""


_TOO_LONG = Problem(
    f"this program is too long: it has more than {LONGEST:,} characters",
    "run it in several cells or files; a long list can live in the notebook, and stand here by its name",
)
_MORE = f"mend the first {_TOLD} mistakes; what follows was not looked at"


def _deeper(tree: Tree[Token], most: int) -> bool:
    """Return whether a parse tree has more levels than ``most``."""
    level: list[Any] = [tree]
    for _ in range(most):
        level = [child for node in level if isinstance(node, Tree) for child in node.children]
    return any(isinstance(node, Tree) for node in level)


def _defining(table: Table) -> list[str]:
    """Return the words of the statements that give a name a meaning: those whose node has a ``name``."""
    return [word for word, nodes in table.items() if any("name" in node.__dataclass_fields__ for node in nodes)]


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
        """Return a name without its backticks, its accents composed."""
        return composed(token[1:-1] if token.startswith("`") else str(token))

    def NUMBER(self, token: str) -> int | float:
        """Return a whole number as int, if it fits 64 bits, any other as float."""
        whole = int(token) if re.fullmatch("-?[0-9]{1,20}", token) else 1 << 64
        return whole if -(1 << 63) <= whole < 1 << 64 else float(token)

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

    arguments = references = chosen = sources
