"""What ``torch.func.vmap`` refuses, in words of the one who wrote the model and the loss."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aadsl.core.errors import AadslError

# What vmap says, and what that means.
REASONS = {
    ".item()": "it looks at its values (.item(), or an if over a tensor)",
    "data-dependent": "it looks at its values (.item(), or an if over a tensor)",
    "dynamic shape": "its values decide how many it computes with (a boolean mask, nonzero)",
    "data pointer": "it leaves PyTorch with its values (numpy)",
    "functorch transform": "it takes derivatives itself (requires_grad_, torch.autograd)",
}


class CannotAdvanceTogetherError(AadslError):
    """Something in the model or the loss works for one set of parameters at a time only."""


@contextmanager
def refusals() -> Iterator[None]:
    """Say in words what cannot be computed for many runs at once; what is only slow there is measured, not warned of.

    Raises:
        CannotAdvanceTogetherError: whatever was raised, unless that is for the user already: run by run it either does
            not happen or is raised again.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            yield
    except AadslError:
        raise
    except Exception as error:
        raise CannotAdvanceTogetherError(
            f"the model or the loss takes one set of parameters at a time: {in_words(error)}",
            hint="runs are then trained one after the other",
        ) from error


def in_words(error: Exception) -> str:
    """Return what an error means that only many runs at once meet."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "so many at once do not fit into the memory"
    if operator := re.search(r"aten::(\w+)", text):
        return f"PyTorch cannot compute {operator[1]} for many at once"
    return next((words for sign, words in REASONS.items() if sign in text), text.strip().split("\n")[0][:160])
