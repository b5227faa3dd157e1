"""Calls of what the user wrote, a loss or a behavior: where one fails, it is said what it was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from sysconfig import get_paths
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn

from aadsl.core.arguments import shown
from aadsl.core.errors import AadslError

# Where no line of the user's stands: ours, and Python's own.
OTHERS = (Path(__file__).parents[1], Path(get_paths()["stdlib"]))


def user_call(
    what: str, function: Callable[[nn.Module, Any], Any], model: nn.Module, batch: Any, options: str = ""
) -> Any:
    """Return ``function(model, batch)``.

    Args:
        what: what the function is, in words.
        function: a loss or a behavior.
        model: its first argument.
        batch: its second one.
        options: what a loss of ``torch.nn`` would have to be made with.

    Raises:
        AadslError: the function fails; says in which line of the user's, and what a batch is made of.
    """
    try:
        return function(model, batch)
    except (AadslError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        hint = f"it is called as {what.split()[1]}(model, batch); the batch is here {_described(batch)}"
        raise _failing(what, error, wrapped(function, options) or hint) from error


def called(how: str, function: Callable[..., Any], *given: Any) -> Any:
    """Return ``function(*given)``; ``how`` it is called, as ``"metric(model)"``, is said where it fails.

    Raises:
        AadslError: the function fails; says in which line of the user's.
    """
    try:
        return function(*given)
    except (AadslError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _failing(how, error, f"it is called as {how}") from error


def _failing(what: str, error: Exception, hint: str) -> AadslError:
    return AadslError(f"{what} fails: {type(error).__name__}: {error}{_where(error)}", hint=hint)


def answer_of(what: str, function: Callable[[Any], Any], given: Any) -> Any:
    """Return ``function(given)``, ``what`` being the call as the user would write it.

    Raises:
        AadslError: the function fails; says in which line of the user's.
    """
    try:
        return function(given)
    except (AadslError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise AadslError(f"{what} fails: {type(error).__name__}: {error}{_where(error)}") from error


def _where(error: Exception) -> str:
    """Return the line that failed: the innermost one that is neither ours, nor a library's, nor Python's own."""
    own = [frame for frame in extract_tb(error.__traceback__) if not _is_installed(frame.filename)]
    if not own or not own[-1].line:
        return ""
    return f", in line {own[-1].lineno} of {own[-1].name.strip('<>')}: {own[-1].line}"


def _is_installed(file: str) -> bool:
    path = Path(file)
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts) or any(one in path.parents for one in OTHERS)


def wrapped(function: Any, options: str = "") -> str:
    """Return how to call what compares outputs with targets, as the losses of ``torch.nn`` do; nothing for others."""
    name = function.__name__ if isinstance(function, type) else type(function).__name__
    if getattr(nn, name, None) not in (function, type(function)):
        return ""
    return f"it compares outputs with targets: lambda model, batch: nn.{name}({options})(model(batch[0]), batch[1])"


def _described(batch: Any) -> str:
    """Return what a batch is made of."""
    if isinstance(batch, Tensor):
        return f"a tensor {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return f"a dict of {', '.join(f'{name!r}: {_described(part)}' for name, part in batch.items())}"
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {', '.join(map(_described, batch))}"
    return shown(batch)
