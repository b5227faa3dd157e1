"""What a class offers and a layer above it carries out, such as ``trajectory.verify``, for which the engine is needed.

The package's root stands above all layers and says who carries it out; nothing below imports upward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_LOADERS: dict[str, Callable[[], Callable[..., Any]]] = {}


def attach(name: str, load: Callable[[], Callable[..., Any]]) -> None:
    """Say what carries ``name`` out: ``load()``, called when it is first needed."""
    _LOADERS[name] = load


def attached(name: str) -> Callable[..., Any]:
    """Return the function that carries ``name`` out, looked up when it is called."""

    def call(*arguments: Any, **options: Any) -> Any:
        return _LOADERS[name]()(*arguments, **options)

    return call
