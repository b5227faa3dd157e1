"""What one optimizer step does, as a value that an intervention can change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aadsl.core.clip import Clip
from aadsl.core.generators import Generator
from aadsl.core.kernels import Kernels
from aadsl.dynamics import Dynamics, Hyper
from aadsl.propagation.averaging import Averaging
from aadsl.propagation.layout import FlatState


class Batches(Protocol):
    """The micro-batches of one step, loaded when they are needed."""

    def __call__(self) -> tuple[Any, ...]:
        """Return the micro-batches whose gradients the step adds up."""
        ...

    def looked_up_in(self, data: Any) -> Batches:
        """Return the same examples of other data: relabelled, cleaned."""
        ...


class Joining(Protocol):
    """What a run begins with of that with which the one before it ended."""

    def __call__(self, state: FlatState) -> FlatState:
        """Return the state that the run begins with, where the one before ended in ``state``."""
        ...

    def along(self, state: FlatState, e: FlatState) -> FlatState:
        """Return its derivative at ``state`` times a tangent."""
        ...

    def pulled(self, state: FlatState, u: FlatState) -> FlatState:
        """Return a cotangent times its derivative at ``state``."""
        ...


class Displacement(Protocol):
    """What else moved the state after a step: the run went on from c, and its replay ended at r."""

    def __call__(self, state: FlatState) -> FlatState:
        """Return where a run goes on that the step left at ``state``: c where that is r."""
        ...

    def along(self, change: FlatState) -> FlatState:
        """Return the derivative at r times a tangent, or a cotangent times it: it is diagonal."""
        ...


@dataclass(frozen=True)
class Step:
    """The update Φ_t: which batch, which hyperparameters, and whether it happens at all.

    Attributes:
        index: t.
        batches: the data it reads.
        hyper: one dictionary of optimizer scalars per parameter group.
        dynamics: the optimizer of each parameter group; ``RESTING`` for a group that was not trained, ``Pausing`` for
            one whose optimizer took no step.
        applied: False for a step that is skipped: the state stays as it is.
        resets_optimizer: the optimizer's slots start afresh before this step, also where the step is skipped.
        restarts: the parameter groups whose slots alone start afresh before it.
        gradient_weight: factor on the gradient; 0 needs no gradient at all.
        training: whether the model was in train mode.
        off_mode: modules that were in the other mode than the model (frozen normalization).
        rng_states: for each micro-batch the states of the random generators (:mod:`aadsl.core.generators`) at the start
            of its forward pass; empty where nothing random happened.
        weights: for each micro-batch the factor of its loss in the loss of the step; empty where that is their mean.
        sizes: for each micro-batch how many examples it has.
        ranks: for each micro-batch the rank of the process that computed it; empty where one process trained.
        left_out: for each micro-batch the examples whose loss has no weight (:mod:`aadsl.propagation.example_rows`);
            empty where there are none.
        clip: gradient clipping.
        kernels: the switches under which loss and gradient are computed, by name.
        inputs_format: the memory format of what the model is called on, "" for as it comes.
        loss_scale: of mixed precision: a backward pass begins with it, and the gradient is divided by it again.
        averaging: how an average of the weights takes in what it leaves; None where it does not.
        after_plateau: whether a plateau schedule was stepped since the step before.
        decides: ``decides(model, step)`` returns the step that is taken instead, as the model decides it where it then
            is; None where all is as it was recorded.
        run: number of the run that it belongs to.
        joining: what its run begins with, where it is the first of it; None where that is what the one before left.
        displacement: what else moves the state after it, whether it is applied or not; as a rule nothing.
    """

    index: int
    batches: Batches
    hyper: tuple[Hyper, ...]
    dynamics: tuple[Dynamics, ...]
    applied: bool = True
    resets_optimizer: bool = False
    restarts: tuple[int, ...] = ()
    gradient_weight: float = 1.0
    training: bool = True
    off_mode: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    left_out: tuple[tuple[int, ...], ...] = ()
    rng_states: tuple[Mapping[Generator, Tensor], ...] = ()
    clip: Clip | None = None
    kernels: Kernels = field(default_factory=dict)
    inputs_format: str = ""
    loss_scale: float = 1.0
    averaging: Averaging | None = None
    after_plateau: bool = False
    decides: Callable[[nn.Module, Step], Step] | None = None
    run: int = 0
    joining: Joining | None = None
    displacement: Displacement | None = None

    def begins_rank(self, micro_batch: int) -> bool:
        """Return whether a micro-batch is the first of another process than the one before it."""
        return 0 < micro_batch < len(self.ranks) and self.ranks[micro_batch] != self.ranks[micro_batch - 1]

    def share(self, loss: Tensor, micro_batch: int, count: int) -> Tensor:
        """Return what the loss of one micro-batch of ``count`` adds to the loss of the step."""
        if self.weights:
            return loss * self.weights[micro_batch]
        return loss / count if count > 1 else loss

    def example_weights(self, micro_batch: int, like: Tensor) -> Tensor | None:
        """Return (n,) the weight of each example of a micro-batch, of the kind of ``like``; None where all are 1."""
        if not self.left_out or not self.left_out[micro_batch]:
            return None
        weights = like.new_ones(self.sizes[micro_batch])
        weights[list(self.left_out[micro_batch])] = 0.0
        return weights

    def beginning(self, loss: Tensor) -> Tensor | None:
        """Return what a backward pass from ``loss`` begins with; None for 1."""
        return None if self.loss_scale == 1 else torch.full_like(loss, self.loss_scale)

    def unscaled(self, gradient: Tensor) -> Tensor:
        """Return what a backward pass gave, without the scale."""
        return gradient if self.loss_scale == 1 else gradient / self.loss_scale

    @property
    def restarted(self) -> Sequence[int]:
        """The parameter groups whose slots start afresh before it."""
        return range(len(self.dynamics)) if self.resets_optimizer else self.restarts


class Run(Protocol):
    """A recorded run as propagation sees it: its steps, and the states that were kept.

    Attributes:
        length: number of steps T.
        checkpoints: the steps whose state is kept, ascending, starting with 0.
    """

    @property
    def length(self) -> int: ...  # noqa: D102

    @property
    def checkpoints(self) -> tuple[int, ...]: ...  # noqa: D102

    def step(self, index: int) -> Step:
        """Return Φ_t."""
        ...

    def state(self, index: int) -> FlatState:
        """Return the kept state ξ_t of a checkpoint."""
        ...

    def reached(self, start: int, stop: int, end: FlatState) -> None:
        """Take note that a replay of the steps between two kept states, ``start`` and ``stop``, ended in ``end``."""
        ...
