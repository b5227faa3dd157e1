"""A study: one run, its named stages and behaviors, and the questions that one asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aadsl.study.study import Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    """Import the study on first use: the language reads questions without waiting for PyTorch."""
    if name != "Study":
        raise AttributeError(f"module 'aadsl.study' has no attribute {name!r}")
    from aadsl.study.study import Study

    return Study
