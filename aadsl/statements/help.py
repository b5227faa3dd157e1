"""``help``: the language explains itself from its tables and docstrings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from inspect import cleandoc
from typing import Any

from aadsl.core.errors import unknown_name
from aadsl.language.parser import Table
from aadsl.statements.base import Action, Statement
from aadsl.statements.guides import GUIDES
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.vocabulary import HOMES, signature, table

TABLES = {f"{kind}s": kind for kind in HOMES}


@dataclass(frozen=True)
class Help(Statement):
    """Explain a statement, a table of the vocabulary, one of its members, trust in numbers, or the explorer.

    help
    help score
    help trust
    help explorer
    help estimators
    help log_likelihood
    """

    topic: str | None

    def resolve(self, scope: Scope) -> Action | None:
        """Find the text of the topic."""
        text = overview(scope.table) if self.topic is None else about(self.topic, scope.table)
        if text is not None:
            return partial(self.run, text=text)
        problem = unknown_name("help on", str(self.topic), topics(scope.table))
        scope.report(self.span, problem.message, problem.hint)
        return None

    def run(self, result: Result, text: str) -> None:
        """Say it."""
        result.say(text)


def topics(statements: Table) -> list[str]:
    """Return every topic there is help on."""
    return [*statements, *GUIDES, *TABLES, *dict.fromkeys(name for kind in HOMES for name in table(kind))]


def overview(statements: Table) -> str:
    """Return one line a statement, and where to read on."""
    lines = [f"  {word:<9} {_first_line(nodes[0])}" for word, nodes in statements.items()]
    more = f"More: help STATEMENT, {', '.join(f'help {name}' for name in (*GUIDES, *TABLES))}"
    return "\n".join(["Statements:", *lines, more])


def about(topic: str, statements: Table) -> str | None:
    """Return the help text of one topic, None where there is none."""
    if topic in statements:
        return cleandoc(statements[topic][0].__doc__ or "")
    if topic in GUIDES:
        return GUIDES[topic]
    if topic in TABLES:
        members = table(TABLES[topic])
        lines = [f"  {signature(name, member)}\n      {_first_line(member)}" for name, member in members.items()]
        return "\n".join([f"{topic}:", *lines])
    texts = [_member(kind, topic, table(kind)[topic]) for kind in HOMES if topic in table(kind)]
    return "\n\n".join(texts) or None


def _member(kind: str, name: str, member: type[Any]) -> str:
    """Return how a member of a table is written, what it does, and what a chart needs of an answer."""
    needs = [f"Draws {need.what}: {need.way_out}." for need in member.needs] if kind == "chart" else []
    return "\n\n".join([signature(name, member), cleandoc(member.__doc__ or ""), *needs])


def _first_line(documented: type) -> str:
    """Return what a docstring says first."""
    return (documented.__doc__ or "").strip().split("\n")[0]
