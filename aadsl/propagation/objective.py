"""The loss of one step as a function of flat parameters and buffers, with its first and second derivatives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from aadsl.core.copies import copied
from aadsl.core.errors import AadslError
from aadsl.core.formats import called_in
from aadsl.core.generators import left_as_they_were
from aadsl.core.kernels import under
from aadsl.propagation.aligned import AlignedTensors
from aadsl.propagation.evaluation import Evaluation
from aadsl.propagation.example_rows import weighted
from aadsl.propagation.gradient_hooks import hooked, hooks_of, put_hooks
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.loss import LossFunction, evaluated
from aadsl.propagation.micro_batches import GradientSum, Turns, seed
from aadsl.propagation.model_buffers import ModelBuffers
from aadsl.propagation.outputs import captured_output, only_tensor
from aadsl.propagation.statistics import RunningStatistics
from aadsl.propagation.step import Step

Shift = tuple[float, Tensor]
"""(h, e): parameters θ + h·e instead of θ."""


class Objective:
    """A private copy of the model, into which flat states are loaded, and the loss on it.

    The caller's model is never touched, but for what is ``shared`` with it: generators. Each evaluation loads the state
    it is asked about, so no state leaks from one to the next. ``names`` are what the model calls the parameters that it
    has; by default all, as they are called.

    Attributes:
        model: the copy, without wrappers such as ``torch.compile``.
        leaves: its trained parameters.
        hooks: what changes the gradient of a parameter in each backward pass, by its name.
        runs: of each run its own, where it had another model or loss.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        parameters: Layout,
        buffers: Layout,
        integers: Sequence[str],
        like: Tensor,
        shared: Iterable[Any] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.runs: Sequence[Objective] = ()
        self.model = copied(model, shared).to(like.device)
        self.loss = loss
        self.parameters, self.buffers, self.integers = parameters, buffers, tuple(integers)
        self.statistics = RunningStatistics(self.model)
        self._modules = list(self.model.modules())
        self._like = like.new_zeros(())
        self._parameters, self._buffers = (
            AlignedTensors(parameters, like),
            ModelBuffers(self.model, buffers, integers, like),
        )
        self.hooks = hooks_of(self.model)
        put_hooks(self.model, {})
        own = dict(self.model.named_parameters())
        for parameter in own.values():
            parameter.requires_grad_(False)
        # Of what the model does not have, and no loss reads, there is a leaf of its own.
        called = [name if names is None else names.get(name, "") for name in parameters.names]
        self.leaves = [own[name] if name else nn.Parameter(like.new_zeros(0)) for name in called]
        self._hooks = [self.hooks.get(name, []) for name in called]
        for leaf, memory in zip(self.leaves, self._parameters.tensors, strict=True):
            leaf.data = memory
            leaf.requires_grad_(True)

    def of(self, step: Step) -> Objective:
        """Return the objective of the run that a step belongs to."""
        return self.runs[step.run] if self.runs else self

    def with_loss(self, loss: LossFunction) -> Objective:
        """Return the same with another loss: the private model is one."""
        other = copy.copy(self)
        other.loss = loss
        return other

    def load(self, state: FlatState, shift: Shift | None = None) -> None:
        """Copy ``state`` into the private model, its parameters moved by ``shift``."""
        with torch.no_grad():
            self._parameters.load(state.parameters, shift)
        self._buffers.load(state.buffers, state.integers)

    def evaluate(self, state: FlatState, step: Step, shift: Shift | None = None) -> Evaluation:
        """Return loss and gradient of the step, over all its micro-batches, and the buffers after it."""
        losses, total = list[Tensor](), GradientSum(step)
        with self.at(state, step, shift):
            for position, part in enumerate(self._losses(step)):
                found = torch.autograd.grad(part, self.leaves, step.beginning(part), allow_unused=True)
                total.add(position, self.hooked(found))
                losses.append(part.detach())
        gradients = total.total
        present = [gradient is not None for gradient in gradients]
        return Evaluation(
            sum(losses[1:], start=losses[0]),
            step.unscaled(self.parameters.flatten(gradients, self._like)),
            None if all(present) else self.parameters.mask(present, self._like.device),
            *self._buffers.now(),
        )

    def loss_of(self, state: FlatState, step: Step) -> Tensor:
        """Return the loss alone."""
        with self.at(state, step), torch.no_grad():
            return sum(self._losses(step), start=torch.zeros_like(self._like))

    def gradient(
        self, state: FlatState, step: Step, cotangent: Tensor | None, shift: Shift | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (∂/∂θ, ∂/∂b) of L + ⟨cotangent, b'⟩, where b' (B,) are the buffers after the forward pass.

        Without a ``cotangent`` and in train mode the loss does not read b, and ∂/∂b is zero.
        """
        self._require_no_hooks()
        if cotangent is None and (step.training or not self.buffers.size):
            return self.evaluate(state, step, shift).gradient, torch.zeros_like(state.buffers)
        with self.at(state, step, shift), self._traced(step) as (value, after, leaf):
            objective = value() + (0.0 if cotangent is None else (after() * cotangent).sum())
            return self.flat_gradient(objective, leaf)

    def curvature_pullback(
        self, state: FlatState, step: Step, directions: Sequence[tuple[Tensor, Tensor | None]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return (∂/∂θ, ∂/∂b) of ⟨∂L/∂θ, c⟩ + ⟨w, b'⟩ for each direction (c, w): the exact Hessian-vector products.

        One graph of the gradient serves all directions. Attention runs in its math kernel, the only one with a
        second derivative.
        """
        with self.at(state, step), sdpa_kernel(SDPBackend.MATH), self._traced(step) as (value, after, leaf):
            gradient = self.hooked(torch.autograd.grad(value(), self.leaves, create_graph=True, allow_unused=True))
            flat = self.parameters.flatten(gradient, self._like)
            products = []
            for c, w in directions:
                objective = (flat * c).sum() + (0.0 if w is None else (after() * w).sum())
                products.append(self.flat_gradient(objective, leaf, retain=True))
            return products

    def curvature_pushforward(
        self, state: FlatState, step: Step, tangents: Sequence[tuple[Tensor, Tensor]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the changes of (∂L/∂θ, b') along each tangent (e_θ, e_b), to first order and exactly."""
        with self.at(state, step), sdpa_kernel(SDPBackend.MATH), self._traced(step) as (value, after, leaf):
            inputs = [*self.leaves, leaf]
            *gradient, buffer_gradient = torch.autograd.grad(value(), inputs, create_graph=True, allow_unused=True)
            flat = self.parameters.flatten(self.hooked(gradient), self._like)
            probe = torch.zeros_like(leaf, requires_grad=True)
            traced = (after() * probe).sum()
            pulled = torch.autograd.grad(traced, inputs, create_graph=True, materialize_grads=True)
            changes = []
            for e_theta, e_buffers in tangents:
                objective = (flat * e_theta).sum()
                if buffer_gradient is not None:
                    objective = objective + (buffer_gradient * e_buffers).sum()
                change, _ = self.flat_gradient(objective, leaf, retain=True)
                along = sum(
                    ((p * e).sum() for p, e in zip(pulled, [*self.parameters.views(e_theta), e_buffers], strict=True)),
                    start=leaf.new_zeros(()),
                )
                moved = torch.autograd.grad(along, probe, retain_graph=True, materialize_grads=True)[0]
                changes.append((change, moved.detach()))
            return changes

    def gauss_newton_product(self, state: FlatState, step: Step, directions: Sequence[Tensor]) -> list[Tensor]:
        """Return Jᵀ(∂²L/∂z²)J c for each direction c, z being the model's output."""
        self._require_no_hooks()
        products = [torch.zeros_like(c) for c in directions]
        with self.at(state, step), sdpa_kernel(SDPBackend.MATH), captured_output(self.model) as outputs:
            for value in self._losses(step):
                output = only_tensor(outputs)
                (slope,) = torch.autograd.grad(value, output, create_graph=True)
                probe = torch.zeros_like(output, requires_grad=True)
                pulled = torch.autograd.grad(output, self.leaves, probe, create_graph=True, allow_unused=True)
                flat = self.parameters.flatten(pulled, self._like)
                for position, c in enumerate(directions):
                    (moved,) = torch.autograd.grad((flat * c).sum(), probe, retain_graph=True)
                    (bent,) = torch.autograd.grad(
                        (slope * moved).sum(), output, retain_graph=True, materialize_grads=True
                    )
                    back = torch.autograd.grad(output, self.leaves, bent, retain_graph=True, allow_unused=True)
                    products[position] = products[position] + self.parameters.flatten(back, self._like)
                outputs.clear()
        return products

    def hooked(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return gradients as hooks on the parameters leave them."""
        return [hooked(gradient, hooks) for gradient, hooks in zip(gradients, self._hooks, strict=True)]

    def _require_no_hooks(self) -> None:
        if self.hooks:
            raise AadslError(
                f'"{next(iter(self.hooks))}" has a hook that changes its gradient, which this curvature cannot follow',
                hint="choose the curvature exact(), or ask for the exact answer: retraining()",
            )

    def retention(self, state: FlatState, step: Step) -> Tensor:
        """Return ∂b'/∂b (B,) at fixed inputs: 1 − momentum for running statistics in train mode, else 1."""
        self.load(state)
        self._set_mode(step)
        factors = self.statistics.retention()
        ones = self._like.new_ones(self.buffers.size)
        for name, view in self.buffers.named_views(ones).items():
            view.mul_(factors.get(name, 1.0))
        return ones

    @contextmanager
    def at(self, state: FlatState, step: Step, shift: Shift | None = None) -> Iterator[None]:
        """Load the state, and run the step there."""
        self.load(state, shift)
        with self.running(step):
            yield

    @contextmanager
    def running(self, step: Step) -> Iterator[None]:
        """Set the mode of the step and its kernels; leave the random generators as they were."""
        self._set_mode(step)
        with torch.enable_grad(), under(step.kernels), called_in(self.model, step.inputs_format):
            if not step.rng_states:
                yield
                return
            with left_as_they_were({one for states in step.rng_states for one in states}):
                yield

    def _set_mode(self, step: Step) -> None:
        # Setting a mode takes far longer than looking at it.
        if step.off_mode or any(module.training != step.training for module in self._modules):
            self.model.train(step.training)
        for name in step.off_mode:
            self.model.get_submodule(name).training = not step.training

    def _losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the share of each micro-batch: they add up to the loss of the step."""
        batches = step.batches()
        turns = Turns(step, self._buffers_now, self._put_buffers)
        for position, batch in enumerate(batches):
            turns.begin(position)
            seed(step, position)
            value = self.weighted_loss(batch, step.example_weights(position, self._like))
            yield step.share(value, position, len(batches))
        turns.end()

    def _buffers_now(self) -> tuple[tuple[Tensor, tuple[Tensor, ...]], dict[str, Tensor]]:
        return self._buffers.now(), dict(self.statistics.current)

    def _put_buffers(self, held: tuple[tuple[Tensor, tuple[Tensor, ...]], dict[str, Tensor]]) -> None:
        present, self.statistics.current = held[0], dict(held[1])
        self._buffers.load(*present)

    def weighted_loss(self, batch: Any, weights: Tensor | None) -> Tensor:
        """Return the loss of a micro-batch; its gradient is that of its examples by ``weights`` (n,), if there are."""
        value = partial(evaluated, self.loss, self.model, batch)
        return value() if weights is None else weighted(self.model, value, weights)

    @contextmanager
    def traced_buffers(self) -> Iterator[Tensor]:
        """Yield the loaded buffers (B,) as a leaf of the graph that forward passes inside the block build."""
        leaf = self._buffers.loaded().requires_grad_(True)
        kept = {n: v for n, v in self.buffers.named_views(leaf).items() if n in self.statistics.names}
        with self.statistics.tracing(kept):
            yield leaf

    @contextmanager
    def _traced(self, step: Step) -> Iterator[tuple[Callable[[], Tensor], Callable[[], Tensor], Tensor]]:
        """Yield the loss, the buffers after it, and the buffers before it, all inside one graph."""

        def value() -> Tensor:
            return sum(self._losses(step), start=torch.zeros_like(self._like))

        def after() -> Tensor:
            traced = self.statistics.current
            parts = [traced.get(name, view) for name, view in self.buffers.named_views(leaf).items()]
            return self.buffers.flatten(parts, leaf)

        with self.traced_buffers() as leaf:
            yield value, after, leaf

    def flat_gradient(self, objective: Tensor, leaf: Tensor, *, retain: bool = False) -> tuple[Tensor, Tensor]:
        """Return (∂/∂θ (P,), ∂/∂b (B,)) of a scalar; ``leaf`` are the buffers inside its graph."""
        if not objective.requires_grad:
            return self._like.new_zeros(self.parameters.size), torch.zeros_like(leaf)
        *found, of_buffers = torch.autograd.grad(
            objective, [*self.leaves, leaf], retain_graph=retain, allow_unused=True
        )
        flat = self.parameters.flatten(found, self._like)
        return flat, torch.zeros_like(leaf) if of_buffers is None else of_buffers
