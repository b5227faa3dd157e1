"""What is said where there is nothing to explore."""

from __future__ import annotations

from aadsl.core.errors import Problem

NO_ANSWER = Problem("there is no answer to explore", "ask first: score STAGES on BEHAVIORS")
