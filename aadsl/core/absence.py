"""Interventions after which a stage is as if it had not been."""

from __future__ import annotations

LEFT_OUT = ("skip", "restart")


def is_left_out(intervention: str) -> bool:
    """Return whether a stage is left out under this intervention; of others one says which.

    >>> is_left_out("skip()"), is_left_out("zero_gradient()")
    (True, False)
    """
    return intervention.partition("(")[0] in LEFT_OUT
