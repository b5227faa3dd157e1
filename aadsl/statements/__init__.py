"""What the statements of the language mean: one file each, with its syntax node, how it resolves and how it runs."""

from __future__ import annotations

from aadsl.statements.completion import complete, signature_at
from aadsl.statements.program import format_program, run
from aadsl.statements.selecting import select
from aadsl.statements.session import Result, Session
from aadsl.statements.table import STATEMENTS

__all__ = ["STATEMENTS", "Result", "Session", "complete", "format_program", "run", "select", "signature_at"]
