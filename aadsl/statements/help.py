"""``help``: the language explains itself from its tables and docstrings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from aadsl.errors import unknown_name
from aadsl.statements.base import Action, Statement
from aadsl.statements.vocabulary import HOMES, signature, table

if TYPE_CHECKING:
    from aadsl.statements.scope import Scope
    from aadsl.statements.session import Result

TABLES = {f"{kind}s": kind for kind in HOMES}


@dataclass(frozen=True)
class Help(Statement):
    """Explain a statement, a table of the vocabulary, or one of its members.

    help
    help score
    help estimators
    help log_likelihood
    """

    topic: str | None

    def resolve(self, scope: Scope) -> Action | None:
        """Find the text of the topic."""
        text = overview() if self.topic is None else about(self.topic)
        if text is not None:
            return partial(self.run, text=text)
        problem = unknown_name("help on", str(self.topic), topics())
        scope.report(self.span, problem.message, problem.hint)
        return None

    def run(self, result: Result, text: str) -> None:
        """Say it."""
        result.say(text)


def topics() -> list[str]:
    """Return every topic there is help on."""
    from aadsl.statements import STATEMENTS

    return [*STATEMENTS, *TABLES, *dict.fromkeys(name for kind in HOMES for name in table(kind))]


def overview() -> str:
    """Return one line a statement, and where to read on."""
    from aadsl.statements import STATEMENTS

    lines = [f"  {word:<9} {_first_line(nodes[0])}" for word, nodes in STATEMENTS.items()]
    more = f"More: help STATEMENT, {', '.join(f'help {name}' for name in TABLES)}"
    return "\n".join(["Statements:", *lines, more])


def about(topic: str) -> str | None:
    """Return the help text of one topic, None where there is none."""
    from aadsl.statements import STATEMENTS

    if topic in STATEMENTS:
        return cleandoc(STATEMENTS[topic][0].__doc__ or "")
    if topic in TABLES:
        members = table(TABLES[topic])
        lines = [f"  {signature(name, member)}\n      {_first_line(member)}" for name, member in members.items()]
        return "\n".join([f"{topic}:", *lines])
    texts = [_member(topic, members[topic]) for members in map(table, HOMES) if topic in members]
    return "\n\n".join(texts) or None


def _member(name: str, member: type[Any]) -> str:
    """Return how a member of a table is written, what it does, and what a chart needs of an answer."""
    needs = [f"Draws {need.what}: {need.way_out}." for need in getattr(member, "needs", ())]
    return "\n\n".join([signature(name, member), cleandoc(member.__doc__ or ""), *needs])


def _first_line(documented: type) -> str:
    return (documented.__doc__ or "").strip().split("\n")[0]
