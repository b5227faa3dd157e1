"""Watches a model's forward and backward passes: which of them train, from which generator states, in which mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from heapq import nsmallest
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from aadsl.core.formats import FORMATS, format_of
from aadsl.core.generators import OwnGenerator, as_tensor
from aadsl.trajectory.record.backward import BackwardHook, Differentiated, Number
from aadsl.trajectory.record.hook import Hook
from aadsl.trajectory.record.looks import Looks
from aadsl.trajectory.record.matching import ForwardPass, Used, announced_ahead, matched, task_now, training_passes
from aadsl.trajectory.record.rows import MicroBatch
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.store.specs import ANNOUNCED
from aadsl.trajectory.store.tensors import dtype_name

# Who evaluates with gradients for long must not fill the memory.
_KEPT = 1024
_WITNESSES = 3
# A look at the generators takes a hundredth of a small step. After so many steps in one mode without random numbers,
# one a step has to do. What is drawn between two steps then counts as drawn in the first, which does no harm.
# (Who sets the same seed before each forward, and draws only later, is found out by verification.)
_WARY = 100


class ForwardWatch:
    """Notes each forward pass that records gradients; others (evaluation under ``no_grad``) are not training.

    Of those the training ones are those whose outputs were differentiated while the parameters got their gradients:
    validation, logging or a penalty in between may record gradients, too.

    ``model`` is what the loop calls, which may be a wrapper of the subject's. ``before`` is called first, and says
    whether it is still to be noted. Where several processes train ``together``, all is noted when a step is finished.
    ``own`` are generators that the loop or its loss draws from besides PyTorch's, Python's and NumPy's global ones.

    Attributes:
        entered: whether the loop has begun the step of the next pass, and nothing that it looks at came since.
        seen: whether there was one since the last step.
        training, off_mode: the model's mode at the first that trained, and the modules that deviate from it.
        autocast: the dtype of the ``torch.autocast`` around that one, "" where there was none.
        inputs_format: the memory format of what that one began with, "" for the usual one.
        loss: what was differentiated for the last step, in all; None where that is not known.
        scale: of mixed precision by which the loss of the last step was multiplied, 1 where that was not seen.
        buffers_written: whether something else than the training passes of the last step wrote to buffers before it.
    """

    def __init__(
        self,
        model: nn.Module,
        subject: Subject,
        before: Callable[[], bool],
        together: bool = False,
        own: Sequence[OwnGenerator] = (),
    ) -> None:
        self.entered = self.seen = self.buffers_written = False
        self._together = together
        self._told = False
        self._subject = subject
        self._before = before
        self._room = _KEPT
        self._events: list[ForwardPass | None] = []  # passes and, as None, announcements, in their order
        # The backward passes in which parameters got gradients, and what each began with, where that was seen.
        self._tasks: dict[int, Differentiated | None] = {}
        self._unsettled: tuple[dict[str, bytes], Used] | None = None
        self._wary = _WARY
        self._inside: ForwardPass | None = None
        self._buffers = list(subject.model.buffers())
        self._written = [buffer._version for buffer in self._buffers]
        self.training, self.off_mode, self.autocast, self.inputs_format = True, "", "", ""
        # Where weights of kernels lie in the usual order, that of the inputs decides.
        self._of_images = any(len(s.shape) in FORMATS and not s.memory_format for s in subject.specs.values())
        self.loss: Number | None = None
        self.scale: Number = 1.0
        devices = ["cpu", *sorted({f"cuda:{p.device.index}" for p in subject.parameters.values() if p.is_cuda})]
        self._looks = Looks(devices, own)
        self._device = next(iter(subject.parameters.values())).device.type
        self.look_at_mode()
        # The smallest, because a hook makes PyTorch copy the gradient instead of keeping it; a few, because one may be
        # without gradients.
        self._witnesses = nsmallest(_WITNESSES, subject.parameters.values(), key=Tensor.numel)
        self._versions: list[int | None] = [None] * len(self._witnesses)
        self.hooks = [
            model.register_forward_pre_hook(Hook(self._on_forward)),
            model.register_forward_hook(Hook(self._on_output)),
            BackwardHook(self._on_backward),
            *(
                witness.register_post_accumulate_grad_hook(partial(self._on_gradient, number))  # type: ignore[no-untyped-call]
                for number, witness in enumerate(self._witnesses)
            ),
        ]

    def look_at_mode(self) -> None:
        """Note the model's present mode."""
        self._set_mode(self._subject.model.training, self._subject.modules_off_mode())

    def _set_mode(self, training: bool, off_mode: str) -> None:
        if training is not self.training or off_mode != self.off_mode:
            self.training, self.off_mode = training, off_mode
            self._wary = _WARY

    def announced(self) -> None:
        """Note that a micro-batch was announced, whose step the loop has begun, and where the generators are.

        A loss may draw before it calls the model.
        """
        self._events.append(None)
        self.entered = not self._tasks  # else what was accumulated may yet be thrown away
        if not self._told:
            self._looks.announce(wary=self._wary > 0)

    def _on_forward(self, module: nn.Module, args: Any) -> None:
        self._inside = None
        if torch.is_grad_enabled() and not self._told:
            self._note()
            if self._of_images and self._inside is not None:
                found = (format_of(one) for one in args if isinstance(one, Tensor))
                self._inside.inputs_format = next(filter(None, found), "")

    def told(self) -> None:
        """Note a forward pass that the training loop told of; from now on it tells of all."""
        self._told = True
        self._note()

    def _note(self) -> None:
        if not (self.entered or self._before()):
            return
        self.seen, self.entered = True, False
        states = self._looks.states()
        self.settle(states)
        one = ForwardPass(self._subject.model.training, self._subject.modules_off_mode(), states)
        if torch.is_autocast_enabled(self._device):
            one.autocast = dtype_name(torch.get_autocast_dtype(self._device))
        self._looks.begin(one, announced=not self._told and bool(self._events) and self._events[-1] is None)
        if len(self._events) >= self._room:
            self._events = [event for event in self._events if event is None or event.tasks]
            self._room = max(_KEPT, 2 * len(self._events))
        if self._buffers:
            one.buffers = self._buffer_versions(), []
        self._events.append(one)
        self._inside = one

    def _on_output(self, module: nn.Module, args: Any, output: Any) -> None:
        """See what the pass drew, and whether it is differentiated later."""
        one, self._inside = self._inside, None
        if one is None:
            return
        self._looks.end(one)
        if one.early:
            self._wary = _WARY
        if one.buffers:
            one.buffers[1][:] = self._buffer_versions()
        for tensor in (output,) if isinstance(output, Tensor) else _tensors(output):
            if tensor.grad_fn is not None:
                tensor.register_hook(one.differentiated)  # type: ignore[no-untyped-call]

    def _on_gradient(self, number: int, parameter: Tensor) -> None:
        self.entered = False
        self._tasks.setdefault(task_now())
        gradient = parameter.grad
        assert gradient is not None  # it was just accumulated
        self._versions[number] = gradient._version

    def _on_backward(self, begun: Differentiated) -> None:
        for task in reversed(self._tasks):  # several where it recomputed parts of the model
            if self._tasks[task] is not None:
                break
            self._tasks[task] = begun

    @property
    def without_gradients(self) -> bool:
        """Whether there was a forward pass, and the parameters that are watched got no gradients."""
        return self.seen and not self._tasks

    def _begun(self) -> list[Differentiated]:
        """Return what the backward passes since the last step began with; nothing where that of one is not known."""
        begun = list(self._tasks.values())
        if len(begun) > 1:  # several of one pass where parts of the model were computed again
            begun = list({id(one): one for one in begun}.values())
        return begun if None not in begun else []  # type: ignore[return-value]

    @property
    def was_skipped(self) -> bool:
        """Whether what was differentiated is not finite, or was scaled for mixed precision, which skips such steps."""
        return any(float(one.scale) != 1 or not isfinite(float(one.loss)) for one in self._begun())

    def gradients_discarded(self) -> bool:
        """Return whether gradients were computed since the last step and then set to None or zero."""
        return bool(self._tasks) and all(map(self._without_gradient, self._witnesses, self._versions))

    def _without_gradient(self, witness: Tensor, version: int | None) -> bool:
        gradient = witness.grad
        if gradient is None:
            return True
        # To look at the values may mean to wait for a device: only where something else than backward wrote to them.
        return version is not None and gradient._version != version and not bool(gradient.any())

    def finish_step(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """Return the micro-batches that the step used, with what their forward passes began with.

        While no step draws random numbers, whether one did is seen when the next one begins, or in :meth:`settle`.
        """
        used = matched(self._events, batches, self._tasks.keys())
        begun = self._begun()
        self.loss, self.scale = None, 1.0
        if begun:
            self.loss, factor, self.scale = begun[0]
            for further in begun[1:]:
                self.loss = self.loss + further.loss
            # What one loss had no part in is its own. (That of a GPU is not waited for.)
            alone = len(used) == len(begun) == 1 and isinstance(factor, float) and factor == 1.0
            if self._together or not alone:
                self._measure(used, begun)
        self.buffers_written = bool(self._buffers) and self._wrote_between()
        for _, first in used:
            if first is not None:
                self._set_mode(first.training, first.off_mode)
                self.autocast, self.inputs_format = first.autocast, first.inputs_format
                self._unsettled = first.states, used
                if self._wary or self._together:
                    self.settle()
                break
        self.forget()
        return [batch for batch, _ in used]

    def _measure(self, used: Used, begun: Sequence[Differentiated]) -> None:
        """Note of each micro-batch what was differentiated.

        A backward pass through several of them, and several through one, say nothing of each.
        """
        found = [one for _, one in used if one is not None]
        known = [{id(own): own for own in map(self._tasks.get, one.tasks) if own is not None} for one in found]
        if not found and len(begun) == len(used):  # of what the loop calls parts of, nothing but the order is seen
            known = [{id(own): own} for own in begun]
        distinct = {number for own in known for number in own}
        if len(known) == len(used) == len(distinct) and all(len(own) == 1 for own in known):
            for (batch, _), own in zip(used, known, strict=True):
                ((batch.loss, batch.factor, _),) = own.values()

    def used(self, batches: Sequence[MicroBatch]) -> int:
        """Return how many of the announced micro-batches the coming step uses."""
        return len(matched(self._events, batches, self._tasks.keys()))

    def _buffer_versions(self) -> list[int]:
        return [buffer._version for buffer in self._buffers]

    def _wrote_between(self) -> bool:
        """Return whether buffers were written to between the training passes, those of the last step included."""
        found = False
        for one in training_passes(self._events, self._tasks.keys()):
            if one.buffers and one.buffers[1]:  # of what the loop tells of, the end is not seen
                found |= one.buffers[0] != self._written
                self._written = one.buffers[1]
        return found

    def settle(self, now: dict[str, bytes] | None = None) -> None:
        """See whether the last step drew random numbers, if that is not known yet, from the generators' states now."""
        if self._unsettled is None:
            return
        now = now or self._looks.states()
        (began, used), self._unsettled = self._unsettled, None
        drew = [] if now == began else [device for device, state in now.items() if state != began[device]]
        self._wary = _WARY if drew else self._wary - (self._wary > 0)
        for batch, one in used:
            if one is None or not (drew or one.others or one.early):
                continue
            states = {device: one.states[device] for device in drew} | dict(one.others)
            states |= {f"{ANNOUNCED}{name}": state for name, state in one.early.items()}
            if states:
                drawn = {name.replace(":", ""): as_tensor(state) for name, state in states.items() if state}
                batch.rng = {**batch.rng, **drawn} if batch.rng else drawn

    def announced_ahead(self, *, again: bool = False) -> int:
        """Return how many micro-batches were announced whose passes are to come; ``again``: a single one may repeat."""
        return announced_ahead(self._events, self._tasks.keys(), again=again)

    def forget(self, ahead: int = 0) -> None:
        """Start the next step, of which so many micro-batches were announced."""
        self._events, self._tasks = [None] * ahead, {}
        self.seen = False


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a model returns."""
    if isinstance(output, Tensor):
        yield output
    elif is_dataclass(output) and not isinstance(output, Mapping):
        yield from _tensors([getattr(output, field.name) for field in fields(output)])
    elif isinstance(output, (Mapping, tuple, list)):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(part)
