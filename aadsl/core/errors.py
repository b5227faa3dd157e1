"""The one error type of the project: what was wrong, where, and the way out."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace

from aadsl.core.texts import told

AROUND = 200
"""Letters of a program that are shown on either side of a mistake."""


@dataclass(frozen=True)
class Span:
    """A place in a program: 1-based line, 1-based columns, ``end_column`` exclusive."""

    line: int
    column: int
    end_column: int


@dataclass(frozen=True)
class Problem:
    """One mistake: a message, the way out, and for programs the place with its source line."""

    message: str
    hint: str = ""
    span: Span | None = None
    source_line: str = ""

    def __str__(self) -> str:
        if self.span is None:
            lines = [self.message]
        else:
            lines = [f"line {self.span.line}: {self.message}", *_marked(self.source_line, self.span)]
        return told("\n".join([*lines, self.hint] if self.hint else lines))


def _marked(line: str, span: Span) -> tuple[str, str]:
    """Return a line of a program and a line with carets under the place; of a long one what is around that."""
    begin = max(0, span.column - 1 - AROUND) if len(line) > 2 * AROUND else 0
    part = line[begin : span.column - 1 + AROUND] if len(line) > 2 * AROUND else line
    before, after = "…" * (begin > 0), "…" * (begin + len(part) < len(line))
    place = span.column - 1 - begin + len(before)
    width = max(1, min(span.end_column - span.column, len(before) + len(part) - place))
    return f"    {before}{part}{after}", "    " + " " * place + "^" * width


class AadslError(Exception):
    """A mistake the user can mend. ``problems`` holds every one that was found, in order.

    >>> print(AadslError("the run holds no steps", hint="call recorder.batch() in the training loop"))
    the run holds no steps
    call recorder.batch() in the training loop
    """

    def __init__(self, *problems: Problem | str, hint: str = "") -> None:
        self.problems = tuple(Problem(p, hint) if isinstance(p, str) else p for p in problems)
        self._shown = False
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def within(self, where: str) -> AadslError:
        """Return the same problems, each with its own way out, told of a place.

        >>> print(AadslError("the batch is empty", hint="leave it out").within("step 3"))
        step 3: the batch is empty
        leave it out
        """
        return AadslError(*(replace(problem, message=f"{where}: {problem.message}") for problem in self.problems))

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: the message alone; asked for once more (``%tb``), with the Python frames."""
        if self._shown:
            return "".join(traceback.format_exception(self)).splitlines()
        self._shown = True
        return str(self).splitlines()


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return ``did you mean "tag"?``, or an empty string where nothing is close.

    >>> did_you_mean("tga", ["tag", "lr"])
    'did you mean "tag"?'
    """
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


def unknown_name(kind: str, name: str, candidates: Iterable[str]) -> Problem:
    """Return the problem of a ``name`` that no ``kind`` of thing has, with the nearest and all known names."""
    known = sorted(candidates)
    listing = f"known: {', '.join(known)}" if known else f"there is no {kind} yet"
    return Problem(f'no {kind} "{name}"', " ".join(filter(None, [did_you_mean(name, known), listing])))
