"""Completion inside ``%%aascore`` cells and ``%aascore`` lines; the language itself says what may follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.completer import SimpleCompletion, SimpleMatcherResult, context_matcher

from jupyter_ext.options import option_names

IDENTIFIER = "aadsl.aascore"
_CELL = re.compile(r"\s*%%aascore\b(?P<line>[^\n]*)")
_LINE = re.compile(r"(?P<before>.*\n|)\s*%aascore\s(?P<statement>[^\n]*)\Z", re.DOTALL)
_WORD = re.compile(r"[\w-]*\Z")

Proposals = tuple[str, list[tuple[str, str]]]
"""What is half typed, and the (text, kind) that may replace it."""


def register(shell: Any, session: Callable[[], Any], names: Callable[[], Mapping[str, Any]]) -> None:
    """Add the completion to ``shell``; ``session`` and ``names`` are asked anew each time."""
    unregister(shell)

    @context_matcher(identifier=IDENTIFIER, priority=200)  # type: ignore[untyped-decorator]
    def matcher(context: Any) -> SimpleMatcherResult:
        above = context.full_text.split("\n")[: context.cursor_line]  # IPython counts the cursor from its line's start
        cursor = sum(len(line) + 1 for line in above) + context.cursor_position
        found = propose(context.full_text, cursor, session, names)
        if found is None:
            return SimpleMatcherResult(completions=[], suppress=False)
        fragment, items = found
        # An empty answer would let the names of Python through: then the word is proposed as it stands.
        completions = [SimpleCompletion(text=text, type=kind) for text, kind in items or [(fragment, "")]]
        return SimpleMatcherResult(completions=completions, matched_fragment=fragment, ordered=True, suppress=True)

    shell.Completer.custom_matchers.append(matcher)


def unregister(shell: Any) -> None:
    """Take the completion away."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != IDENTIFIER]


def propose(
    text: str, cursor: int, session: Callable[[], Any], names: Callable[[], Mapping[str, Any]]
) -> Proposals | None:
    """Return what may stand at ``text[cursor]`` of a cell; None where the cell is not in our language."""
    cell = _CELL.match(text)
    if cell and cursor <= cell.end():
        return _options(text[:cursor])
    program = program_at(text, cursor)
    return None if program is None else _language(*program, session, names)


def program_at(text: str, cursor: int) -> tuple[str, int] | None:
    """Return the program of a cell and the cursor in it; None where ``text[cursor]`` is not in our language."""
    if cell := _CELL.match(text):
        start = cell.end() + 1
        return (text[start:], cursor - start) if cursor >= start else None
    if line := _LINE.match(text[:cursor]):
        return line["statement"], len(line["statement"])
    return None


def _options(typed: str) -> Proposals:
    fragment = _WORD.search(typed)[0]  # type: ignore[index]  # it matches the empty word too
    fitting = [(name, "option") for name in option_names() if name.startswith(fragment) and name not in typed.split()]
    return fragment, fitting


def _language(text: str, cursor: int, session: Any, names: Any) -> Proposals:
    from aadsl.statements import complete

    found = complete(text, cursor, session(), names())
    return text[found.start : cursor], [(item.text, item.kind) for item in found.items]
