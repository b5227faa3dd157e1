"""Records a training run with one added line in the loop."""

from __future__ import annotations

import atexit
import os
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from torch import nn

from aadsl.errors import AadslError
from aadsl.examples import Examples
from aadsl.trajectory.announcements import announced, check_announced, joined
from aadsl.trajectory.header import describe
from aadsl.trajectory.journal import Journal
from aadsl.trajectory.plans import Plan, plan_of
from aadsl.trajectory.resume import prepared
from aadsl.trajectory.rows import BOUNDARY, MicroBatch, Row
from aadsl.trajectory.specs import Clip
from aadsl.trajectory.subject import Subject
from aadsl.trajectory.tensors import pack
from aadsl.trajectory.vocabulary import Vocabulary, check_value
from aadsl.trajectory.watch import ForwardWatch

# Steps are committed this often: what a killed process loses.
FLUSH_SECONDS = 2.0
FLUSH_BYTES = 16 << 20


class Recorder:
    """Records every step that ``optimizer`` takes on ``model`` into the folder ``path``.

    Call :meth:`batch` before each ``optimizer.step()``; several calls before one step are its micro-batches. Use it
    as a context manager, or call :meth:`close`; a loop that ends in an exception leaves a readable trajectory.

    Args:
        path: folder to record into; made if need be. A run that is there is continued where the model stands.
        model: what is trained. Its forward is watched for train/eval mode and random numbers.
        optimizer: any ``torch.optim`` optimizer over parameters of ``model``.
        data: the data set that ``indices`` point into; described, not stored.
        states: ``"sqrt"`` (about √(T/2) states), ``"all"``, a number k or ``every(k)``, ``budget("2GiB")``.
        overwrite: replace a run that is there.
        on_error: ``"warn"`` ends the recording instead of the training when something fails.
        clip: declares that gradients are clipped before each step: the limit of their norm, or a ``Clip``.
        accumulate: declares how many micro-batches make one step; undeclared, steps may differ.
        step: number of the next step, when continuing a run from a checkpoint of one's own.

    Attributes:
        path: the folder.
        step: number of the next step.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: nn.Module,
        optimizer: Any,
        data: Any = None,
        *,
        states: str | int | Plan = "sqrt",
        overwrite: bool = False,
        on_error: Literal["raise", "warn"] = "raise",
        clip: Clip | float | None = None,
        accumulate: int | None = None,
        step: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.step = 0
        self._on_error = on_error
        self._accumulate = accumulate
        self._plan = plan_of(states)
        self._subject = Subject(model, optimizer)
        self._vocabulary = Vocabulary(set().union(*self._subject.hyperparameters()))
        self._data_length = None if data is None else len(Examples.of(data))
        self._process = os.getpid()
        self._open = False
        header = describe(self._subject, data, Clip.of(clip), accumulate)
        try:
            self._start(model, prepared(self.path, self._subject, self._vocabulary, header, overwrite, step))
        except OSError as error:
            self._fail(AadslError(f"cannot record into {self.path}: {error}"))

    def _start(self, model: nn.Module, start: Any) -> None:
        self._lock, header, self.step, stored, phase = start
        self._journal = Journal(self.path, header, self._plan)
        self._phase = phase or self.path.name or "run"
        self._reset: bool | None = None  # whether the coming phase resets the optimizer; None: look when it begins
        self._phase_due = not phase
        self._state_due = not stored
        self._captured = self.step if stored else -1
        self._boundary = BOUNDARY["none"]
        self._batches: list[MicroBatch] = []
        self._metadata: dict[str, Any] = {}
        self._hyperparameters: list[dict[str, Any]] = []
        self._rows: list[Row] = []
        self._held = 0  # bytes of batches in self._rows
        self._commit_at = time.monotonic() + FLUSH_SECONDS
        self._mid_step = False
        self._open = True
        self._watch = ForwardWatch(model, self._subject, self._enter_step)
        optimizer = self._subject.optimizer
        self._hooks = [
            *self._watch.hooks,
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        atexit.register(self.close)
        self._enter_step()

    def batch(self, tensors: Any = None, *, indices: Any = None, **metadata: Any) -> None:
        """Announce the data of the coming step, before or after its forward and backward pass.

        Args:
            tensors: the batch itself (tensor, tuple or dict of tensors), stored; or
            indices: positions in the recorder's ``data``.
            metadata: text, true/false, number or 0-dim tensor for the step (``tag="badnet"``, ``loss=loss``), or a
                list as long as the batch for its examples. The ``loss`` of accumulated micro-batches is averaged.
        """
        if not self._open:
            return
        try:
            self._check()
            batch, scalars = announced(tensors, indices, metadata, self._vocabulary, self._data_length)
        except AadslError as error:
            self._fail(AadslError(f"step {self.step}: {error}"))
            return
        self._enter_step()
        self._batches.append(batch)
        self._metadata = joined(self._metadata, scalars, len(self._batches))

    def forward_begins(self) -> None:
        """Say that a micro-batch's forward pass begins now.

        Only needed where the training loop calls parts of the model, not the model, so that the recorder cannot see it.
        """
        if self._open:
            self._watch.told()

    def phase(self, name: str, reset: bool | None = None) -> None:
        """Say that a new phase begins with the next step.

        ``reset``: whether the optimizer starts afresh there; left out, its buffers are looked at when the phase begins.
        """
        if self._open:
            check_value("phase", str(name))
            self._phase, self._reset = str(name), reset
            self._phase_due = self._state_due = True

    def flush(self) -> None:
        """Commit the steps so far and wait until they are on disk. Raises AadslError where that fails."""
        if self._open:
            self._queue_rows()
            self._journal.flush()
            if error := self._journal.problem():
                self._fail(error)

    def close(self) -> None:
        """Commit everything, with the final state. Raises AadslError where that fails; a second call does nothing."""
        if not self._open or os.getpid() != self._process:
            return
        if self._journal.problem() is None:
            # A forward pass since the last step may have moved the buffers: then this is no longer ξ_T.
            clean = not self._mid_step and not (self._watch.seen and self._subject.buffer_specs)
            if clean and not self._phase_due and self._captured != self.step:
                self._capture()
        self._stop()
        if error := self._journal.problem():
            self._fail(error)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except AadslError:
            if error is None:  # otherwise the loop's own error is the one to see
                raise

    def _enter_step(self) -> None:
        """Before anything of the coming step happened: forget a step that was skipped, and begin what is due."""
        if self._batches and self._watch.gradients_discarded():
            # zero_grad() came instead of a step, as when mixed precision skips one.
            self._batches, self._metadata = [], {}
            self._watch.forget()
        self._begin_what_is_due()

    def _begin_what_is_due(self) -> None:
        """Begin a phase and keep the state, where they are due."""
        if self._phase_due:
            fresh = self._subject.optimizer_is_fresh() if self._reset is None else self._reset
            self._boundary = BOUNDARY["optimizer_reset" if fresh else "phase"]
            self._phase_due = False
        if self._state_due:
            self._capture()

    def _capture(self) -> None:
        self._journal.state(self.step, pack(self._subject.entries()))
        self._captured = self.step
        self._state_due = False

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        try:
            check_announced(self.step, len(self._batches), self._accumulate)
            self._subject.check_idle()
        except AadslError as error:
            self._fail(error)
            return
        self._begin_what_is_due()
        if not self._watch.seen:
            self._watch.look_at_mode()
        self._hyperparameters = self._subject.hyperparameters()
        self._mid_step = True

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self._mid_step:
            return
        watch = self._watch
        watch.finish_step(self._batches)
        self._rows.append(
            Row(
                self._metadata, self._hyperparameters, self._phase, self._boundary,
                watch.training, watch.off_mode, self._batches,
            )
        )  # fmt: skip
        for batch in self._batches:
            self._held += batch.nbytes
        self._batches, self._metadata, self._boundary = [], {}, BOUNDARY["none"]
        self._mid_step = False
        self.step += 1
        if self._plan.due(self.step):
            self._capture()
        if self._held > FLUSH_BYTES or time.monotonic() > self._commit_at:
            self._queue_rows()

    def _queue_rows(self) -> None:
        self._watch.settle()
        if self._rows:
            self._journal.rows(self.step - len(self._rows), self._rows, self._held)
        self._rows, self._held = [], 0
        # Up to 15 times less often on a slow disk or a busy machine, so that committing takes a hundredth of the time.
        self._commit_at = time.monotonic() + FLUSH_SECONDS * min(max(1.0, self._journal.busy / 0.02), 15.0)

    def _check(self) -> None:
        if error := self._journal.problem():
            raise error

    def _fail(self, error: AadslError) -> None:
        if self._on_error == "raise":
            raise error
        warnings.warn(f"{error}\nrecording stops here, training goes on", stacklevel=3)
        if self._open:
            self._stop()

    def _stop(self) -> None:
        self._open = False
        self._queue_rows()
        for hook in self._hooks:
            hook.remove()
        atexit.unregister(self.close)
        self._journal.close(self.step)
        self._lock.release()
