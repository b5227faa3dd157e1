"""Gradient clipping: declared to the recorder, stored with the run, repeated by a replay."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Literal

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError


@checked
@dataclass(frozen=True)
class Clip:
    """Gradient clipping that the training loop does before each step.

    ``norm``: as ``torch.nn.utils.clip_grad_norm_(parameters, limit, norm_type)`` over all recorded parameters.
    ``value``: as ``torch.nn.utils.clip_grad_value_(parameters, limit)``.
    """

    kind: Literal["norm", "value"]
    limit: float
    norm_type: float = 2.0

    @classmethod
    def of(cls, declared: Clip | float | None) -> Clip | None:
        """Return ``declared``; a bare number is the limit of the 2-norm.

        Raises:
            AadslError: it is neither.
        """
        if declared is None or isinstance(declared, Clip):
            return declared
        if isinstance(declared, Real) and float(declared) > 0:
            return cls("norm", float(declared))
        raise AadslError(
            f"clip={declared!r} is not a gradient clip",
            hint='say clip=1.0 for a norm, or clip=Clip("value", 0.5)',
        )
