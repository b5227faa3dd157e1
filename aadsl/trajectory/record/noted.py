"""What a recorder notes of a step, beside what it is told: precision, writes from outside, what the model decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from aadsl.core.formats import INPUTS_FORMAT
from aadsl.core.kernels import AUTOCAST
from aadsl.trajectory.record.subject import Subject, unwrapped_optimizer
from aadsl.trajectory.record.watch import ForwardWatch
from aadsl.trajectory.store.specs import BUFFERS_WRITTEN, DECIDED, DECLARED, LOSS_SCALE, PLATEAU


class Noted:
    """Metadata that the recorder gives itself, for the coming step.

    ``adaptive``: batches, labels or losses depend on the model, as the user says.
    """

    def __init__(self, adaptive: bool) -> None:
        self._always = {DECIDED: DECLARED} if adaptive else {}
        self._coming: dict[str, Any] = {**self._always}

    def add(self, name: str, value: Any = True) -> None:
        """Note something of the coming step."""
        self._coming[name] = value

    def update(self, several: Mapping[str, Any]) -> None:
        """Note several things of the coming step."""
        self._coming.update(several)

    def decided(self, what: str) -> None:
        """Note that the model decided something, which a replay takes as it was recorded."""
        before = self._coming.get(DECIDED)
        self._coming[DECIDED] = what if before in (None, what) else f"{before}, {what}"

    def of_pass(self, watch: ForwardWatch, *, first: bool) -> None:
        """Note what was seen of the training pass of a step; before the ``first`` one buffers may have been loaded."""
        if watch.buffers_written and not first:
            self._coming[BUFFERS_WRITTEN] = True
        if watch.autocast:
            self._coming[AUTOCAST] = watch.autocast
        if watch.inputs_format:
            self._coming[INPUTS_FORMAT] = watch.inputs_format
        if not isinstance(watch.scale, float) or watch.scale != 1.0:  # that of a GPU is not waited for
            self._coming[LOSS_SCALE] = watch.scale

    def taken(self) -> dict[str, Any]:
        """Return what was noted of the step, and begin with the next one."""
        taken, self._coming = self._coming, {**self._always}
        return taken


class PlateauHook:
    """Notes when a schedule that looks at a metric of the model steps, until :meth:`remove`."""

    def __init__(self, subject: Subject, noted: Noted) -> None:
        self._subject, self._noted = subject, noted
        _watching.append(self)
        ReduceLROnPlateau.step = _watched  # type: ignore[method-assign]

    def remove(self) -> None:
        """See no more."""
        if self in _watching:
            _watching.remove(self)
        if not _watching and ReduceLROnPlateau.step is _watched:
            ReduceLROnPlateau.step = _plain  # type: ignore[method-assign]

    def stepped(self, scheduler: ReduceLROnPlateau) -> None:
        """Note it, if it sets the learning rate of an optimizer that is recorded."""
        if unwrapped_optimizer(scheduler.optimizer) in self._subject.optimizers:
            self._noted.decided(PLATEAU)


_watching: list[PlateauHook] = []
_plain = ReduceLROnPlateau.step


def _watched(self: ReduceLROnPlateau, *given: Any, **named: Any) -> None:
    _plain(self, *given, **named)
    for hook in _watching:
        hook.stepped(self)
