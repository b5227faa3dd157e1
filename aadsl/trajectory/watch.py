"""Watches a model's forward passes: the generator states they start from, and train or eval mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest
from typing import Any

import torch
from torch import Tensor, nn

from aadsl.trajectory.rows import MicroBatch
from aadsl.trajectory.subject import Subject

# A caller who differentiates through the model without stepping must not fill the memory.
_KEPT = 1024
_WITNESSES = 3


class ForwardWatch:
    """Notes each forward pass that records gradients; others (evaluation under ``no_grad``) are not training.

    Attributes:
        seen: whether there was one since the last step.
        training, off_mode: the model's mode at the first of them, and the modules that deviate from it.
    """

    def __init__(self, model: nn.Module, subject: Subject, before: Callable[[], None]) -> None:
        self.seen = False
        self._told = False
        self._subject = subject
        self._before = before
        self._generators: list[dict[str, Tensor]] = []
        self._cuda = sorted({p.device.index for p in subject.parameters.values() if p.is_cuda})
        self.look_at_mode()
        # The smallest, because a hook makes PyTorch copy the gradient instead of keeping it; a few, because one may be
        # without gradients.
        self._witnesses = nsmallest(_WITNESSES, subject.parameters.values(), key=Tensor.numel)
        self._gradient_came = False
        self.hooks = [
            model.register_forward_pre_hook(self._on_forward),
            *(witness.register_post_accumulate_grad_hook(self._on_gradient) for witness in self._witnesses),  # type: ignore[no-untyped-call]
        ]

    def look_at_mode(self) -> None:
        """Note the model's present mode."""
        self.training = self._subject.model.training
        self.off_mode = self._subject.modules_off_mode()

    def _on_forward(self, module: nn.Module, args: Any) -> None:
        if torch.is_grad_enabled() and not self._told:
            self._note()

    def told(self) -> None:
        """Note a forward pass that the training loop told of; from now on it tells of all."""
        self._told = True
        self._note()

    def _note(self) -> None:
        self._before()
        if not self.seen:
            self.look_at_mode()
        self.seen = True
        if len(self._generators) < _KEPT:
            self._generators.append(self._generator_states())

    def _on_gradient(self, parameter: Tensor) -> None:
        self._gradient_came = True

    def gradients_discarded(self) -> bool:
        """Return whether gradients were computed since the last step and then set to None."""
        return self._gradient_came and all(witness.grad is None for witness in self._witnesses)

    def _generator_states(self) -> dict[str, Tensor]:
        states = {"cpu": torch.default_generator.get_state()}
        for index in self._cuda:
            states[f"cuda{index}"] = torch.cuda.get_rng_state(index)
        return states

    def finish_step(self, batches: Sequence[MicroBatch]) -> None:
        """Give each micro-batch the generator states its forward started from, where the step drew random numbers."""
        if self._generators:
            now = self._generator_states()
            for device, state in now.items():
                if _bytes(state) != _bytes(self._generators[0][device]):
                    # One forward a micro-batch is the rule; otherwise only where the step began is sure.
                    one_each = len(self._generators) == len(batches)
                    for batch, states in zip(batches if one_each else batches[:1], self._generators, strict=False):
                        batch.rng = {**batch.rng, device: states[device]}
        self.forget()

    def forget(self) -> None:
        """Start the next step."""
        self._generators.clear()
        self.seen = False
        self._gradient_came = False


def _bytes(state: Tensor) -> bytes:
    """Return a generator state for comparison, which is quicker than ``torch.equal``."""
    return state.numpy().tobytes()
