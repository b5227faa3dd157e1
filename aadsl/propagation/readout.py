"""Reading behaviors off a state: their values, their gradient, and their change along a direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map_only

from aadsl.core.access import Access
from aadsl.core.calls import user_call
from aadsl.core.errors import AadslError
from aadsl.core.generators import beginning_with, global_ones
from aadsl.core.untouched import as_it_was
from aadsl.propagation.layout import FlatState, zeros_like
from aadsl.propagation.objective import Objective

MetricFunction = Callable[[nn.Module, Any], Tensor]
"""``metric(model, examples)``: one number an example, shape (n,)."""


class Readout:
    """A behavior γ as a function of the state, evaluated in eval mode.

    What the metric does to the model is undone each time, and the random numbers that it draws from the global
    generators are the same for each state.

    Args:
        objective: whose private model is used.
        metric: the performance function.
        batches: the examples in chunks; a chunk of n examples gives n numbers.
        name: what the behavior is called, for messages.
    """

    def __init__(self, objective: Objective, metric: MetricFunction, batches: Sequence[Any], name: str = "") -> None:
        self.name = name
        self.objective = objective
        self.metric = metric
        self.batches = batches
        self._recast = False  # whether the examples are read in the model's precision instead of their own

    def values(self, state: FlatState) -> Tensor:
        """Return γ of every example, (n,) float64."""
        self._load(state)
        with torch.no_grad():
            return torch.cat([self._numbers(k).double() for k in range(len(self.batches))])

    def require_reading(self, state: FlatState) -> None:
        """Make sure that the first chunk gives numbers, which are read off the model that the metric is given.

        Raises:
            AadslError: it does not; or the metric uses another model, of which it says the same always; or it writes to
                what no state holds.
        """
        model = self.objective.model
        access = Access([*model.parameters(), *model.buffers()], _constants(self.objective))
        self._load(state)
        with torch.no_grad():
            seen = self._look(access)
            if access.written:
                raise AadslError(
                    f'behavior "{self.name}" writes to "{access.written}", which was not trained, and is not put back',
                    hint="give the model changed copies: torch.func.functional_call(model, {name: changed}, inputs)",
                )
            if seen is not None:
                access.read = False  # the second time counts: it may remember what it said of a model
            numbers = self._numbers(0, None if seen is None else access)
            if access.read:
                return
            self._load(state._replace(parameters=2 * state.parameters + 1))
            same = torch.equal(numbers, self._read(0))
        if same:
            raise AadslError(
                f'behavior "{self.name}" does not read the model that it is given, so that it is the same whatever is '
                "left out of the training",
                hint="use the argument, as in lambda model, batch: model(batch[0])…, not a model of your program; or "
                "does it keep what it once computed, or the model's forward call another model?",
            )

    def _look(self, access: Access) -> Any:
        """Return what the metric returns, watched; None where it fails, or a kernel cannot be (flexible attention)."""
        with suppress(Exception):
            return self._read(0, access)
        return None

    def cotangent(self, state: FlatState) -> FlatState:
        """Return ∇γ of the mean over the examples: u_T, its optimizer part zero.

        Raises:
            AadslError: the metric has no gradient.
        """
        sums = zeros_like(state)._replace(integers=())
        count = 0
        for numbers, leaf in self._graphs(state):
            self._require_gradient(numbers)
            theta, buffers = self.objective.flat_gradient(numbers.sum(), leaf)
            sums = sums._replace(parameters=sums.parameters + theta, buffers=sums.buffers + buffers)
            count += len(numbers)
        return sums._replace(parameters=sums.parameters / count, buffers=sums.buffers / count)

    def hessian_product(self, state: FlatState, e: FlatState) -> FlatState:
        """Return ∇²γ e of the mean over the examples, over parameters and buffers, by double backward.

        Differences of ∇γ are no closer in single precision (relative errors of quadratic readings on a Transformer: 9 %
        exact, 31 % by differences; on a ResNet 29 and 28 %), and drive a running variance below zero.

        Raises:
            AadslError: the product is not finite.
        """
        sums, count = zeros_like(state)._replace(integers=()), 0
        for numbers, leaf in self._graphs(state):
            self._require_gradient(numbers)
            inputs = [*self.objective.leaves, leaf]
            slopes = torch.autograd.grad(numbers.sum(), inputs, create_graph=True, materialize_grads=True)
            directions = [*self.objective.parameters.views(e.parameters), e.buffers]
            parts = [(s * d).sum() for s, d in zip(slopes, directions, strict=True)]
            theta, buffers = self.objective.flat_gradient(torch.stack(parts).sum(), leaf)
            sums = sums._replace(parameters=sums.parameters + theta, buffers=sums.buffers + buffers)
            count += len(numbers)
        if not bool(torch.isfinite(sums.parameters.sum() + sums.buffers.sum())):
            raise AadslError(
                f'the second derivative of behavior "{self.name}" is not a finite number',
                hint='read the behavior without it: blocks(read="linear")',
            )
        return sums._replace(parameters=sums.parameters / count, buffers=sums.buffers / count)

    def along(self, state: FlatState, tangents: Sequence[FlatState]) -> Tensor:
        """Return ⟨∇γ_i, e⟩ for each tangent e and example i, (number of tangents, n) float64.

        The derivative of the pullback Jᵀw along e, which is linear in w, is J e.
        """
        columns = []
        leaves = self.objective.leaves
        for numbers, leaf in self._graphs(state):
            self._require_gradient(numbers)
            probe = torch.zeros_like(numbers, requires_grad=True)
            pulled = torch.autograd.grad(numbers, [*leaves, leaf], probe, create_graph=True, materialize_grads=True)
            rows = []
            for e in tangents:
                directions = [*self.objective.parameters.views(e.parameters), e.buffers]
                pairs = [(p, d) for p, d in zip(pulled, directions, strict=True) if p.requires_grad]
                along = torch.stack([(p * d).sum() for p, d in pairs]).sum()
                rows.append(torch.autograd.grad(along, probe, retain_graph=True)[0].double())
            columns.append(torch.stack(rows))
        return torch.cat(columns, dim=1)

    def _graphs(self, state: FlatState) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield for each chunk its numbers and the buffers they read, inside a graph."""
        for k in range(len(self.batches)):
            self._load(state)
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), self.objective.traced_buffers() as leaf:
                yield self._numbers(k), leaf

    def _load(self, state: FlatState) -> None:
        self.objective.load(state)
        self.objective.model.eval()

    def _numbers(self, k: int, watched: AbstractContextManager[Any] | None = None) -> Tensor:
        """Return the numbers of the chunk k, ``watched``."""
        numbers = self._read(k, watched)
        if not isinstance(numbers, Tensor) or numbers.dim() != 1:
            shape = tuple(numbers.shape) if isinstance(numbers, Tensor) else type(numbers).__name__
            raise AadslError(
                f"a behavior must return one number an example, a tensor of shape (n,); this one returned {shape}",
                hint="average over tokens, pixels or classes inside the behavior",
            )
        broken = int((~torch.isfinite(numbers)).sum())
        if broken:
            raise AadslError(
                f'behavior "{self.name}" is not a finite number for {broken} of {len(numbers)} examples',
                hint="look at these examples and at what the model returns for them",
            )
        return numbers

    def _read(self, k: int, watched: AbstractContextManager[Any] | None = None) -> Any:
        """Return what the metric returns of the chunk k, ``watched``.

        Raises:
            AadslError: it freezes weights, and a gradient is wanted.
        """
        model = self.objective.model
        with as_it_was(model), beginning_with(k, global_ones(next(model.parameters()).device)):
            with watched or nullcontext():
                found = self._asked(self.batches[k])
            if torch.is_grad_enabled() and not all(leaf.requires_grad for leaf in self.objective.leaves):
                raise AadslError(
                    f'behavior "{self.name}" sets requires_grad=False, so these weights have no part in its gradient',
                    hint="leave that out: nothing is trained by reading; or ask for the exact answer: retraining()",
                )
        return found

    def _asked(self, batch: Any) -> Any:
        """Return what the metric returns; floats that the model refuses are given to it in its own precision."""
        model = self.objective.model
        if all(leaf.dtype == next(model.parameters()).dtype for leaf in _floats(batch)):
            return user_call("the behavior", self.metric, model, batch)
        if not self._recast:
            try:
                return self.metric(model, batch)
            except (RuntimeError, AadslError):  # a behavior of the user's own fails in words
                self._recast = True
        return user_call("the behavior", self.metric, model, tree_map_only(Tensor, self._cast, batch))

    def _cast(self, part: Tensor) -> Tensor:
        return part.to(next(self.objective.model.parameters()).dtype) if part.is_floating_point() else part

    def _require_gradient(self, numbers: Tensor) -> None:
        if not numbers.requires_grad:
            raise AadslError(
                "this behavior has no gradient, so its effects cannot be estimated",
                hint="ask for the exact answer, which needs none: retraining(); or for a smooth behavior like margin",
            )


def _constants(objective: Objective) -> dict[str, Tensor]:
    """Return by name what no state holds of the private model: weights that were not trained, constant buffers."""
    trained, moving = {id(leaf) for leaf in objective.leaves}, {*objective.buffers.names, *objective.integers}
    weights = {name: weight for name, weight in objective.model.named_parameters() if id(weight) not in trained}
    return weights | {name: one for name, one in objective.model.named_buffers() if name not in moving}


def _floats(batch: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
