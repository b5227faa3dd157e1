"""The states of many runs as one, and the loss of one step at all of them at once.

A stack is a :class:`FlatState` whose tensors have one more dimension in front: parameters (N, P), slots (N, P_g),
counters (N,), buffers (N, B).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from aadsl.core.errors import AadslError
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.objective import LossFunction, Objective, _accumulate, _set_generators
from aadsl.propagation.step import Step


class VectorizationError(AadslError):
    """The loss cannot be computed for many runs at once; one after the other they can still be retrained."""


class Stack:
    """The states of N runs in one piece of memory, read and written by row."""

    def __init__(self, state: FlatState, count: int) -> None:
        self.tensors = _mapped(lambda t: t.expand(count, *t.shape).clone(), state)

    def __getitem__(self, row: int) -> FlatState:
        """Return a view of the state of one run."""
        return _mapped(lambda t: t[row], self.tensors)

    def __setitem__(self, row: int, state: FlatState) -> None:
        for own, new in zip(_all(self.tensors), _all(state), strict=True):
            own[row] = new

    def between(self, first: int, stop: int) -> FlatState:
        """Return a view of the states of neighboring runs."""
        return _mapped(lambda t: t[first:stop], self.tensors)

    def read(self, rows: Sequence[int]) -> FlatState:
        """Return what a loss reads of some runs, parameters and module buffers; a view where they are neighbors."""
        return _mapped(lambda t: t[_index(rows)], self.tensors._replace(slots=()))

    def write_buffers(self, rows: Sequence[int], states: FlatState) -> None:
        """Set the module buffers of some runs."""
        pairs = zip((self.tensors.buffers, *self.tensors.integers), (states.buffers, *states.integers), strict=True)
        for own, new in pairs:
            own[_index(rows)] = new


class StackedObjective:
    """The loss of a step as a function of the states of many runs, vectorized by ``torch.func.vmap``.

    The backward pass is that of ordinary autograd, through the operations on stacked tensors that vmap makes: it tells
    which parameters took no part, and leaves statistics of normalization to be written in place, to each run its own.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._loss = _Loss(objective.model, objective.loss)
        integers = [n for n, b in objective.model.named_buffers() if any(b is own for own in objective._integers)]
        self._names = [f"model.{n}" for n in (*objective.parameters.names, *objective.buffers.names, *integers)]

    def evaluate(self, states: FlatState, step: Step) -> list[Tensor | None]:
        """Return each run's gradient of the mean over the step's micro-batches; write its new buffers in place.

        For each parameter tensor that is one tensor (n, …); None where it took no part in the loss.

        Raises:
            VectorizationError: the loss cannot be computed for many runs at once.
        """
        layout, batches = self.objective.parameters, step.batches()
        leaves = [t.detach().requires_grad_(True) for t in _views(layout, states.parameters)]
        buffers = [*_views(self.objective.buffers, states.buffers), *states.integers]
        gradients: list[Tensor | None] = [None] * len(leaves)
        with self.objective._at(_mapped(lambda t: t[0], states), step), _refusals():
            for position, batch in enumerate(batches):
                if position < len(step.rng_states):
                    _set_generators(step.rng_states[position])
                losses = vmap(self._one(batch), randomness="same")(leaves, buffers)
                found = torch.autograd.grad(losses.sum() / len(batches), leaves, allow_unused=True)
                gradients = [_accumulate(old, new) for old, new in zip(gradients, found, strict=True)]
        return gradients

    def _one(self, batch: Any) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]:
        """Return the loss of one run as a function of its parameters and buffers."""

        def loss(parameters: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
            named = dict(zip(self._names, (*parameters, *buffers), strict=True))
            value: Tensor = functional_call(self._loss, named, (batch,))
            return value

        return loss


class _Loss(nn.Module):
    """``loss(model, batch)`` as a module, so that the model's tensors can be replaced for one call."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self._function = model, loss

    def forward(self, batch: Any) -> Tensor:
        """Return the loss of the batch."""
        return self._function(self.model, batch)


@contextmanager
def _refusals() -> Iterator[None]:
    """Say in words what vmap refuses; keep its advice on speed to ourselves: that is measured.

    Attention runs in its math kernel: of the others some would be computed run by run.
    """
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")
            yield
    except AadslError:
        raise
    except Exception as error:  # whatever it is: run by run it either does not happen, or is raised again
        raise VectorizationError(
            f"{reason(error)}, so runs cannot advance together",
            hint="they can be retrained one after the other; said by PyTorch: " + str(error).split("\n")[0][:200],
        ) from error


# What vmap says, and what that means to the one who wrote the loss.
REASONS = {
    "calling .item()": "the loss or the model looks at its values (.item(), float(…))",
    "data-dependent control flow": "the loss or the model decides by its values what to compute (if, while)",
    "dynamic shape": "the loss or the model chooses by its values how many it computes with (boolean masks, nonzero)",
    "data pointer": "the loss or the model leaves PyTorch for its values (numpy)",
    "functorch transform": "the loss takes derivatives itself (requires_grad_, torch.autograd)",
    "in-place": "the loss or the model writes values of one run into a tensor that all runs share",
    "randomness": "the loss or the model draws random numbers in a way that cannot be shared by runs",
}


def reason(error: Exception) -> str:
    """Return in words why the loss cannot be computed for many runs at once."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "so many runs at once do not fit into the memory"
    if operator := re.search(r"aten::(\w+)", text):
        return f"PyTorch cannot compute {operator[1]} for many runs at once"
    return next((said for sign, said in REASONS.items() if sign in text), "the loss fails for many runs at once")


def _mapped(function: Callable[[Tensor], Tensor], state: FlatState) -> FlatState:
    integers = tuple(map(function, state.integers))
    return state.with_tensors(map(function, state.tensors()))._replace(integers=integers)


def _index(rows: Sequence[int]) -> slice | list[int]:
    first, last = rows[0], rows[-1]
    return slice(first, last + 1) if last - first + 1 == len(rows) else list(rows)


def _all(state: FlatState) -> list[Tensor]:
    return [*state.tensors(), *state.integers]


def _views(layout: Layout, matrix: Tensor) -> list[Tensor]:
    """Return each tensor of the layout as a view (n, …) into the rows of ``matrix`` (n, size)."""
    return [
        matrix[:, offset : offset + count].view(len(matrix), *shape)
        for offset, count, shape in zip(layout.offsets, layout.counts, layout.shapes, strict=False)
    ]
