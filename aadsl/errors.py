"""The one error type of the project, under its public name."""

from __future__ import annotations

from aadsl.core.errors import AadslError, Problem, Span

__all__ = ["AadslError", "Problem", "Span"]
