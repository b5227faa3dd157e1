"""The scalars of optimizers: learning rate, momentum and whatever else their step reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from aadsl.dynamics import scalars_of

# How PyTorch computes a step, not what it computes. (Fused kernels, and of some optimizers those for many tensors at
# once, round otherwise, so a replay must know of them.)
_IMPLEMENTATION = {"capturable", "differentiable"}


Scalars = list[dict[str, Any]]
"""The hyperparameters of each parameter group."""


class GroupScalars:
    """The hyperparameters of each parameter group of ``optimizers``, one optimizer after the other."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._keys = [(one, scalar_keys(one)) for one in optimizers]
        self._values: list[Any] | None = None
        self._scalars: Scalars = []

    def present(self) -> Scalars:
        """Return them as torch names them; tuples are numbered (beta1, beta2).

        Returns the same object as long as nothing changes.
        """
        values = [group.get(key) for one, keys in self._keys for group in one.param_groups for key in keys]
        if values != self._values:
            # A tensor may change in place, and is then still equal to itself.
            self._values = None if any(isinstance(value, Tensor) for value in values) else values
            scalars = [scalars_of(group, keys) for one, keys in self._keys for group in one.param_groups]
            if scalars != self._scalars:
                self._scalars = scalars
        return self._scalars


def scalar_keys(optimizer: Optimizer) -> list[str]:
    """Return the hyperparameters, those of every group, which are numbers or tuples of numbers."""
    found: dict[str, None] = {}
    for group in optimizer.param_groups:
        for key, value in group.items():
            numbers = value if isinstance(value, tuple) else (value,)
            # Learning rate schedulers leave further keys of their own in the groups.
            known = key in optimizer.defaults and key not in _IMPLEMENTATION
            own = key == "lr" and value is None  # the optimizer finds its own
            if known and (own or all(isinstance(number, (bool, int, float, Tensor)) for number in numbers)):
                found[key] = None
    return list(found)
