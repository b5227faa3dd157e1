"""Optimizers as pure step functions, by the name of their class in ``torch.optim``."""

from __future__ import annotations

from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.dynamics.adagrad import Adagrad
from aadsl.dynamics.adam import Adam
from aadsl.dynamics.adamax import Adamax
from aadsl.dynamics.base import Dynamics, Hyper, Pausing, Resting, Slots
from aadsl.dynamics.fused import fused_step, has_fused_step
from aadsl.dynamics.kinds import in_words
from aadsl.dynamics.kinds import kind_of as _kind_of
from aadsl.dynamics.nadam import NAdam
from aadsl.dynamics.radam import RAdam
from aadsl.dynamics.rmsprop import RMSprop
from aadsl.dynamics.sgd import SGD

__all__ = [
    "DYNAMICS", "RESTING", "Dynamics", "Hyper", "Pausing", "Slots", "dynamics_of", "fused_step", "has_fused_step",
    "in_words", "kind_of",
]  # fmt: skip

DYNAMICS: dict[str, Dynamics] = {
    "SGD": SGD(),
    "Adam": Adam(),
    "AdamW": Adam(decoupled=True),
    "RMSprop": RMSprop(),
    "Adagrad": Adagrad(),
    "Adamax": Adamax(),
    "NAdam": NAdam(),
    "RAdam": RAdam(),
}

RESTING = Resting()


def kind_of(optimizer: Optimizer) -> str:
    """Return the name under which an optimizer is recorded: one of :data:`DYNAMICS` where it takes those steps."""
    return _kind_of(optimizer, DYNAMICS)


def dynamics_of(optimizer: str | None) -> Dynamics:
    """Return the step function of the ``torch.optim`` class named ``optimizer``; None stands for no training.

    Raises:
        AadslError: the run was recorded with an optimizer that has no step function here.
    """
    if optimizer is None:
        return RESTING
    if optimizer not in DYNAMICS:
        raise AadslError(
            f"the run was trained with {optimizer}, whose steps cannot be replayed or differentiated yet",
            hint=f"known optimizers: {', '.join(DYNAMICS)}; the recorded metadata can still be read and charted",
        )
    return DYNAMICS[optimizer]
