"""Hooks on a model that its copies do not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Hook:
    """Calls a method. Copies of the model have hooks that do nothing: models are copied and saved while they train.

    A model that is compiled in place, ``model.compile()``, calls them inside: they are no part of what is compiled.
    """

    __slots__ = ("_call", "_not_compiled")

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call
        self._not_compiled = torch.compiler.disable(call)  # type: ignore[no-untyped-call]

    def __call__(self, *given: Any) -> None:
        """Call it."""
        if torch.compiler.is_dynamo_compiling():
            self._not_compiled(*given)
        else:  # at every step: that wrapper takes as long as the call
            self._call(*given)

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return nothing

    def __reduce__(self) -> Any:
        return _make_nothing, ()


def nothing(*given: Any) -> None:
    """Do nothing."""


def _make_nothing() -> Callable[..., None]:
    return nothing
