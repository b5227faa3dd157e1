"""The language of ``%%aascore`` cells: text → statements with source positions.

``Parser`` knows syntax only. What a statement does is written in :mod:`aadsl.statements`, one file each.
"""

from __future__ import annotations

from aadsl.language.columns import Column
from aadsl.language.nodes import (
    Argument,
    Call,
    Environment,
    Expression,
    Items,
    Literal,
    Name,
    Node,
    Positional,
    Reference,
    Scalar,
)
from aadsl.language.parser import LONGEST, Parsed, Parser
from aadsl.language.selections import Axis, Inline, Slice
from aadsl.language.source import ProgramText

__all__ = [
    "LONGEST",
    "Argument",
    "Axis",
    "Call",
    "Column",
    "Environment",
    "Expression",
    "Inline",
    "Items",
    "Literal",
    "Name",
    "Node",
    "Parsed",
    "Parser",
    "Positional",
    "ProgramText",
    "Reference",
    "Scalar",
    "Slice",
]
