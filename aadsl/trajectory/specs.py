"""The small records that describe a run: parameters, phases, declared gradient clipping."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aadsl.errors import AadslError


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter or buffer as the recorder met it.

    Attributes:
        name: its first name in ``model.named_parameters()`` or ``model.named_buffers()``.
        shape: its shape.
        dtype: PyTorch's name of the dtype, ``"float32"``.
        group: number of the optimizer's parameter group; -1 for a buffer.
        aliases: further names of the same tensor (tied weights).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    group: int = -1
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """Steps ``start <= t < stop`` that were announced as one stretch of training.

    ``resets_optimizer``: the optimizer's buffers were empty before step ``start``.
    """

    name: str
    start: int
    stop: int
    resets_optimizer: bool


@dataclass(frozen=True)
class Job:
    """Steps ``start <= t < stop`` that one recorder recorded; several of them make a chain.

    ``name`` is that of its first phase: the folder it was recorded into, if nothing else was said.
    ``fingerprints`` are digests of what is not stored: ``"data"`` by position, ``"frozen"`` weights by name.
    """

    name: str
    path: str
    start: int
    stop: int
    fingerprints: dict[str, dict[str, str]] = field(repr=False)


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
        """Return ``declared``; a bare number is the limit of the 2-norm."""
        if declared is None or isinstance(declared, Clip):
            return declared
        if isinstance(declared, (int, float)) and declared > 0:
            return cls("norm", float(declared))
        raise AadslError(
            f"clip={declared!r} is not a gradient clip",
            hint='say clip=1.0 for a norm, or clip=Clip("value", 0.5)',
        )
