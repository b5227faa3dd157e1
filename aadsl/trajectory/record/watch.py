"""Watches a model's forward passes: the generator states they start from, and train or eval mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest
from typing import Any

import torch
from torch import Tensor, nn

from aadsl.trajectory.record.rows import MicroBatch
from aadsl.trajectory.record.subject import Subject

# A caller who differentiates through the model without stepping must not fill the memory.
_KEPT = 1024
_WITNESSES = 3
# A look at the generators takes a hundredth of a small step. After so many steps in one mode without random numbers,
# one a step has to do. What is drawn between two steps then counts as drawn in the first, which does no harm.
# (Who sets the same seed before each forward, and draws only later, is found out by verification.)
_WARY = 100


class Hook:
    """Calls a method. Copies of the model have hooks that do nothing: models are copied and saved while they train."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *given: Any) -> None:
        """Call it."""
        self._call(*given)

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return nothing

    def __reduce__(self) -> Any:
        return _make_nothing, ()


def nothing(*given: Any) -> None:
    """Do nothing."""


def _make_nothing() -> Callable[..., None]:
    return nothing


class ForwardWatch:
    """Notes each forward pass that records gradients; others (evaluation under ``no_grad``) are not training.

    ``model`` is what the loop calls, which may be a wrapper of the subject's. ``before`` is called first, and says
    whether it is still to be noted.

    Attributes:
        seen: whether there was one since the last step.
        training, off_mode: the model's mode at the first of them, and the modules that deviate from it.
    """

    def __init__(self, model: nn.Module, subject: Subject, before: Callable[[], bool]) -> None:
        self.seen = False
        self._told = False
        self._subject = subject
        self._before = before
        self._generators: list[dict[str, bytes]] = []
        self._unsettled: tuple[list[dict[str, bytes]], Sequence[MicroBatch]] | None = None
        self._wary = _WARY
        self.training, self.off_mode = True, ""
        self._cuda = sorted({p.device.index for p in subject.parameters.values() if p.is_cuda})
        self.look_at_mode()
        # The smallest, because a hook makes PyTorch copy the gradient instead of keeping it; a few, because one may be
        # without gradients.
        self._witnesses = nsmallest(_WITNESSES, subject.parameters.values(), key=Tensor.numel)
        self._gradient_came = False
        self.hooks = [
            model.register_forward_pre_hook(Hook(self._on_forward)),
            *(witness.register_post_accumulate_grad_hook(self._on_gradient) for witness in self._witnesses),  # type: ignore[no-untyped-call]
        ]

    def look_at_mode(self) -> None:
        """Note the model's present mode."""
        training, off_mode = self._subject.model.training, self._subject.modules_off_mode()
        if training is not self.training or off_mode != self.off_mode:
            self.training, self.off_mode = training, off_mode
            self._wary = _WARY

    def _on_forward(self, module: nn.Module, args: Any) -> None:
        if torch.is_grad_enabled() and not self._told:
            self._note()

    def told(self) -> None:
        """Note a forward pass that the training loop told of; from now on it tells of all."""
        self._told = True
        self._note()

    def _note(self) -> None:
        if not self._before():
            return
        if not self.seen:
            self.look_at_mode()
        self.seen = True
        if len(self._generators) < _KEPT:
            states = self._generator_states()
            self.settle(states)
            self._generators.append(states)

    def _on_gradient(self, parameter: Tensor) -> None:
        self._gradient_came = True

    def gradients_discarded(self) -> bool:
        """Return whether gradients were computed since the last step and then set to None."""
        return self._gradient_came and all(witness.grad is None for witness in self._witnesses)

    def _generator_states(self) -> dict[str, bytes]:
        states = {"cpu": torch.default_generator.get_state().numpy().tobytes()}
        for index in self._cuda:
            states[f"cuda{index}"] = torch.cuda.get_rng_state(index).numpy().tobytes()
        return states

    def finish_step(self, batches: Sequence[MicroBatch]) -> None:
        """Let the micro-batches have the generator states their forward started from, if the step drew random numbers.

        While no step does, that is seen when the next one begins, or in :meth:`settle`.
        """
        if self._generators:
            self._unsettled = self._generators, batches
            if self._wary:
                self.settle()
        self.forget()

    def settle(self, now: dict[str, bytes] | None = None) -> None:
        """See whether the last step drew random numbers, if that is not known yet, from the generators' states now."""
        if self._unsettled is None:
            return
        now = now or self._generator_states()
        (generators, batches), self._unsettled = self._unsettled, None
        if now == generators[0]:
            self._wary = max(0, self._wary - 1)
            return
        self._wary = _WARY
        drew = [device for device, state in now.items() if state != generators[0][device]]
        # One forward a micro-batch is the rule; otherwise only where the step began is sure.
        described = batches if len(generators) == len(batches) else batches[:1]
        for batch, states in zip(described, generators, strict=False):
            batch.rng = {device: torch.frombuffer(bytearray(states[device]), dtype=torch.uint8) for device in drew}

    def forget(self) -> None:
        """Start the next step."""
        self._generators = []
        self.seen = False
        self._gradient_came = False
