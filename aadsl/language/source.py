"""The text of a program, to point into."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cached_property

from aadsl.core.errors import AadslError, Problem, Span
from aadsl.language.layout import LEXEMES

END_OF_LINE = 1 << 30
"""The end column of what goes on in a later line; :meth:`ProgramText.problem` cuts it to the line."""


@dataclass(frozen=True)
class ProgramText:
    """A program's text by lines."""

    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        return [line.rstrip() for line in self.text.split("\n")]

    def problem(self, span: Span, message: str, hint: str = "") -> Problem:
        """Return a problem that shows the line of ``span`` with a caret under it."""
        line = self.lines[span.line - 1] if span.line <= len(self.lines) else ""
        end = max(span.column + 1, min(span.end_column, len(line) + 1))
        # A tab would move the caret; one space keeps the columns.
        return Problem(message, hint, Span(span.line, span.column, end), line.replace("\t", " "))

    def placed(self, error: AadslError, span: Span) -> AadslError:
        """Return an error of a lower layer, which knows no place, with the place that it is about."""
        place = self.problem(span, "")
        return AadslError(
            *(
                problem if problem.span else replace(problem, span=place.span, source_line=place.source_line)
                for problem in error.problems
            )
        )

    def selection(self, span: Span) -> str:
        """Return the text from the start of ``span`` to where its bracket closes, on one line, without comments.

        Of ``(a or b)`` that is what the brackets hold, of ``steps[0:9]`` all of it.
        """
        start = span.column - 1 + (0 if span.line == 1 else self._ends[span.line - 2] + 1)
        kept, depth = list[str](), 0
        for match in LEXEMES.finditer(self.text, start):
            kind, lexeme = match.lastgroup, match.group()
            depth += (kind == "open") - (kind == "close")
            if kind in ("space", "newline"):
                lexeme = " "
            if kind != "comment" and not (lexeme == " " and kept and kept[-1] == " "):
                kept.append(lexeme)
            if kind == "close" and depth == 0:
                break
        whole = "".join(kept)
        return whole[1:-1].strip() if whole.startswith("(") else whole.replace(" ", "")

    @cached_property
    def _ends(self) -> list[int]:
        return [place for place, character in enumerate(self.text) if character == "\n"]

    def span(self, start: int, stop: int) -> Span:
        """Return the place of ``text[start:stop]``."""
        line = bisect_left(self._ends, start) + 1
        column = start - self.text.rfind("\n", 0, start)
        return Span(line, column, END_OF_LINE if "\n" in self.text[start:stop] else column + stop - start)
