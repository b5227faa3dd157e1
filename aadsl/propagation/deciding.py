"""Steps that the model decides as it then is: their batch, or their learning rate."""

from __future__ import annotations

from dataclasses import replace

from aadsl.core.generators import global_ones, left_as_they_were
from aadsl.core.kernels import AUTOCAST
from aadsl.core.untouched import as_it_was
from aadsl.propagation.layout import FlatState
from aadsl.propagation.objective import Objective
from aadsl.propagation.step import Step


def decided(objective: Objective, state: FlatState, step: Step) -> Step:
    """Return the step that the model decides on at ``state``, in the mode of the step, without its ``autocast``.

    Whatever the decision does to the model, to buffers, gradients and random generators is undone: the step begins as
    the recorded one did.
    """
    assert step.decides is not None
    alone = replace(step, rng_states=(), kernels={name: on for name, on in step.kernels.items() if name != AUTOCAST})
    generators, model = global_ones(state.parameters.device), objective.model
    with left_as_they_were(generators), objective.at(state, alone), as_it_was(model):
        found = step.decides(model, replace(step, decides=None))
    for leaf in objective.leaves:
        leaf.grad = None
    return found
