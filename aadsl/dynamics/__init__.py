"""Optimizers as pure step functions, by the name of their class in ``torch.optim``; all others as they are."""

from __future__ import annotations

from torch.optim import Optimizer

from aadsl.dynamics import agreement
from aadsl.dynamics.adadelta import Adadelta
from aadsl.dynamics.adagrad import Adagrad
from aadsl.dynamics.adam import Adam
from aadsl.dynamics.adamax import Adamax
from aadsl.dynamics.asgd import ASGD
from aadsl.dynamics.base import Dynamics, Hyper, Pausing, Resting, Slots
from aadsl.dynamics.derived import DERIVED
from aadsl.dynamics.fused import fused_step, has_fused_kernels, has_fused_step, step_in_place
from aadsl.dynamics.kinds import class_of, in_words
from aadsl.dynamics.lion import Lion
from aadsl.dynamics.muon import Muon
from aadsl.dynamics.nadam import NAdam
from aadsl.dynamics.own import OWN_SCALAR, Given, OwnGroup, OwnOptimizer, without_derivative
from aadsl.dynamics.own_making import Make, options_of, prospects, scalars_of
from aadsl.dynamics.own_modes import equal_but_for_swaps, trained_weights
from aadsl.dynamics.own_state import leaves
from aadsl.dynamics.radam import RAdam
from aadsl.dynamics.rmsprop import RMSprop
from aadsl.dynamics.rprop import Rprop
from aadsl.dynamics.sgd import SGD

__all__ = [
    "DERIVED", "DYNAMICS", "OF_MATRICES", "OWN_SCALAR", "RESTING", "Dynamics", "Given", "Hyper", "Make", "OwnGroup",
    "OwnOptimizer", "Pausing", "Slots", "class_of", "equal_but_for_swaps", "fused_step", "has_fused_kernels",
    "has_fused_step", "in_words", "kind_of", "leaves", "options_of", "prospects", "scalars_of",
    "step_in_place", "trained_weights", "without_derivative",
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
    "Lion": Lion(),
    "Adadelta": Adadelta(),
    "ASGD": ASGD(),
    "Rprop": Rprop(),
}

OF_MATRICES = {"Muon": Muon.of}
"""The optimizers whose step is none of single numbers: what makes it of a group's shapes, and of its options."""

RESTING = Resting()


def kind_of(optimizer: Optimizer) -> str:
    """Return the name under which an optimizer is recorded: that in a table here where it takes those steps."""
    return agreement.kind_of(optimizer, {**DYNAMICS, **OF_MATRICES})
