"""What may stand at a cursor, as a function of the text, the cursor, the session and the notebook's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aadsl.language.cursor import cursor_at
from aadsl.statements.help import about, topics
from aadsl.statements.load import Load
from aadsl.statements.proposals import Completion, of_kind, proposals
from aadsl.statements.scope import Scope
from aadsl.statements.session import Session
from aadsl.statements.show import TOPICS
from aadsl.statements.table import STATEMENTS, parser
from aadsl.statements.vocabulary import HOMES, table


@dataclass(frozen=True)
class Completions:
    """Proposals for ``text[start:cursor]``, the likeliest first."""

    start: int
    items: tuple[Completion, ...]


def complete(
    text: str, cursor: int, session: Session | None = None, names: Mapping[str, Any] | None = None
) -> Completions:
    """Return what may stand at ``text[cursor]``. Nothing is computed and nothing changes."""
    place = cursor_at(parser(), text, cursor)
    scope = _scope_above(text[: place.statement], names or {}, session or Session())
    found: list[Completion] = []
    if "TOPIC" in place.terminals:
        found += of_kind("topic", TOPICS if place.lexemes[0] == "show" else topics(STATEMENTS))
    elif place.terminals & {"NAME", "STRING", "BOOLEAN"}:
        found += proposals(place, scope)
    if "AXIS" in place.terminals:
        found += of_kind("keyword", ("steps", "batches"))
    if place.lexemes == ("verify",):
        found += of_kind("keyword", ("trajectory",))
    found += of_kind("keyword" if place.lexemes else "statement", place.words)
    fitting = (item for item in found if item.text.startswith(place.fragment) and item.text != place.fragment)
    return Completions(cursor - len(place.fragment), tuple(dict.fromkeys(fitting)))


def signature_at(text: str, cursor: int) -> str | None:
    """Return how the call is written whose parentheses the cursor stands in, and what its options mean."""
    place = cursor_at(parser(), text, cursor)
    words = [bracket.word for bracket in reversed(place.brackets) if bracket.symbol == "("]
    known = [word for word in words if any(word in table(kind) for kind in HOMES)]
    return about(known[0], STATEMENTS) if known else None


def _scope_above(text: str, names: Mapping[str, Any], session: Session) -> Scope:
    """Return what the statements above the cursor define; their mistakes are passed over."""
    parsed = parser().parse(text)
    scope = Scope(parsed, names, session)
    for statement in parsed.statements:
        scope.span = statement.span
        if isinstance(statement, Load):
            _preview(scope, statement)
        else:
            statement.resolve(scope)
    return scope


def _preview(scope: Scope, statement: Load) -> None:
    """Take up what the cell loads before it has run: a trajectory is opened once, not at every key."""
    session = scope.session
    if session.previewed is None or session.previewed[0] != statement:
        statement.resolve(scope)
        session.previewed = (statement, scope.study)
    elif session.previewed[1] is not None:
        scope.enter(session.previewed[1])
