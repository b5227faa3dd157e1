"""The name under which an optimizer's class is recorded, and the class of a name.

A class that takes the steps of one in the table is recorded as that one; another of ``torch.optim`` by its name there;
any other by where it can be imported from, such as ``"lab.optimizers.Lion"``.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.optim import Optimizer


def class_of(kind: str) -> type[Optimizer] | None:
    """Return the class that was recorded under a name; None where its module is not imported here.

    Nothing is imported because a recording says so: it may come from a stranger, with modules of its own beside it.
    """
    parts = kind.split(".")
    if len(parts) == 1:
        return _optimizer_at(torch.optim, parts)
    for end in range(len(parts) - 1, 0, -1):
        if (found := sys.modules.get(".".join(parts[:end]))) is not None:
            return _optimizer_at(found, parts[end:])
    return None


def in_words(kind: str) -> str:
    """Return the name of a recorded class without where it is imported from."""
    return kind.rpartition(".")[2]


def _optimizer_at(module: Any, path: list[str]) -> type[Optimizer] | None:
    found = module
    for name in path:
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, Optimizer) else None
