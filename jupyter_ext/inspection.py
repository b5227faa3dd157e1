"""Help at the cursor (Shift+Tab) inside ``%%aascore`` cells: how the call is written and what its options mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from jupyter_ext.completion import program_at


def register(shell: Any) -> None:
    """Answer the notebook's questions about calls of the language; all others go to Python as before."""
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        unregister(shell)
        kernel.do_inspect = _answering(kernel.do_inspect)


def unregister(shell: Any) -> None:
    """Leave all questions to Python."""
    kernel = getattr(shell, "kernel", None)
    if kernel is not None and hasattr(kernel.do_inspect, "__wrapped__"):
        kernel.do_inspect = kernel.do_inspect.__wrapped__


def help_at(code: str, cursor: int) -> str | None:
    """Return help on the call around ``code[cursor]``; None where the cell or the place is not one of ours."""
    from aadsl.statements import signature_at  # here: loading the extension should not wait for the parser

    found = program_at(code, cursor)
    return None if found is None else signature_at(*found)


def _answering(ask_python: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask_python)
    def do_inspect(code: str, cursor_pos: int, *args: Any, **kwargs: Any) -> Any:
        text = help_at(code, cursor_pos)
        if text is None:
            return ask_python(code, cursor_pos, *args, **kwargs)
        return {"status": "ok", "found": True, "data": {"text/plain": text}, "metadata": {}}

    return do_inspect
