"""Records a training run with one added line in the loop."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from weakref import WeakSet

from torch import nn

from aadsl.errors import AadslError
from aadsl.examples import Examples
from aadsl.trajectory.announcements import ComingStep, announced
from aadsl.trajectory.header import describe
from aadsl.trajectory.journal import Journal
from aadsl.trajectory.plans import Plan, plan_of
from aadsl.trajectory.resume import Start, prepared
from aadsl.trajectory.rows import BOUNDARY, Row
from aadsl.trajectory.specs import Clip
from aadsl.trajectory.subject import Subject
from aadsl.trajectory.tensors import pack
from aadsl.trajectory.vocabulary import Vocabulary, check_value
from aadsl.trajectory.watch import ForwardWatch


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
        self.path = Path(path).absolute()  # the process may change its folder
        self._on_error = on_error
        self._accumulate = accumulate
        self._plan = plan_of(states)
        self._subject = Subject(model, optimizer)
        self._vocabulary = Vocabulary(set().union(*self._subject.hyperparameters()))
        self._data_length = None if data is None else len(Examples.of(data))
        self._hooks: list[Any] = []
        self._open, self._ended = False, True
        header = describe(self._subject, data, Clip.of(clip), accumulate)
        try:
            start = prepared(self.path, self._subject, self._vocabulary, header, overwrite, step)
        except (OSError, UnicodeError) as error:
            self._fail(AadslError(f"cannot record into {self.path}: {error}"))
            return
        try:
            self._start(model, start)
        except BaseException as error:
            self._end()
            self._remove_hooks()
            start.lock.release()
            if not isinstance(error, Exception):
                raise
            self._fail(error)

    @property
    def step(self) -> int:
        """Number of the next step."""
        return self._journal.step if hasattr(self, "_journal") else 0

    def _start(self, model: nn.Module, start: Start) -> None:
        self._watch = ForwardWatch(model, self._subject, self._enter_step)
        self._hooks += self._watch.hooks
        self._lock = start.lock
        self._journal = Journal(self.path, start.header, self._plan, start.step)
        self._ended = False
        self._phase = start.phase or self.path.name or "run"
        self._reset: bool | None = None  # whether the coming phase resets the optimizer; None: look when it begins
        self._phase_due = not start.phase
        self._state_due = not start.stored
        self._captured = start.step if start.stored else -1
        self._coming = ComingStep(start.step)
        self._hyperparameters: list[dict[str, Any]] = []
        self._versions = self._subject.versions()
        optimizer = self._subject.optimizer
        self._hooks += [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        atexit.register(self._close_at_exit)
        _open_ones.add(self)
        self._open = True
        self._begin_what_is_due()

    def batch(self, tensors: Any = None, *, indices: Any = None, **metadata: Any) -> None:
        """Announce the data of the coming step, before or after its forward and backward pass.

        Args:
            tensors: the batch itself (tensor, tuple or dict of tensors), stored; or
            indices: positions in the recorder's ``data``.
            metadata: text, true/false, number or 0-dim tensor for the step (``tag="badnet"``, ``loss=loss``), or a
                list as long as the batch for its examples. The ``loss`` of accumulated micro-batches is averaged.
                Where some steps lack a number, it is kept as a float: exact up to 2**53.
        """
        if not self._open:
            return
        try:
            self._check()
            batch, told = announced(tensors, indices, metadata, self._vocabulary, self._data_length)
            self._enter_step()
            self._coming.add(batch, told)
        except AadslError as error:
            self._fail(AadslError(f"step {self.step}: {error}"))
        except Exception as error:
            self._fail(error)

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
            self._commit()
            self._journal.flush()
            if error := self._journal.problem():
                self._fail(error)

    def close(self) -> None:
        """Commit everything, with the final state. Raises AadslError where that fails; a second call does nothing."""
        self._remove_hooks()
        problem: Exception | None = None
        if self._open and not self._ended:
            try:
                self._capture_end()
            except Exception as error:
                problem = error
        self._end()
        if self._open:
            self._open = False
            if problem := problem or self._journal.problem():
                self._fail(problem)

    def _capture_end(self) -> None:
        """Keep ξ_T, if it is that: since the last step nothing may have moved the parameters or the buffers."""
        stale = self._phase_due or (self._coming.begun and self._coming.number == self.step)
        moved = (self._watch.seen and self._subject.buffer_specs) or self._subject.versions() != self._versions
        known = self._captured == self.step or self._journal.problem() is not None
        if not (stale or moved or known or self._subject.change()):
            self._capture()

    def _close_at_exit(self) -> None:
        """Close where the program forgot to."""
        try:
            self.close()
        except AadslError as error:
            sys.stderr.write(f"aadsl: {error}\n")

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

    def _next(self) -> ComingStep:
        step = self._journal.step
        if self._coming.number != step:
            self._coming = ComingStep(step)
        return self._coming

    def _enter_step(self) -> bool:
        """Begin with what comes before a step's first micro-batch; return whether recording goes on."""
        coming = self._next()
        if not self._open or coming.begun:  # a closure's forward pass is within the step
            return self._open
        if coming.batches and self._watch.gradients_discarded():
            # zero_grad() came instead of a step, as when mixed precision skips one.
            coming.forget()
            self._watch.forget()
        try:
            self._begin_what_is_due()
        except Exception as error:
            self._fail(error)
        return self._open

    def _begin_what_is_due(self) -> None:
        """Begin a phase and keep the state, where they are due."""
        if self._phase_due:
            fresh = self._subject.optimizer_is_fresh() if self._reset is None else self._reset
            self._coming.boundary = BOUNDARY["optimizer_reset" if fresh else "phase"]
            self._phase_due = False
        if self._state_due:
            self._capture()

    def _capture(self) -> None:
        self._subject.check_all()
        self._journal.state(self.step, pack(self._subject.entries()))
        self._captured = self.step
        self._state_due = False

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self._open:
            return
        try:
            coming = self._next()
            coming.check(self._accumulate)
            self._subject.check()
            self._begin_what_is_due()
            if not self._watch.seen:
                self._watch.look_at_mode()
            self._hyperparameters = self._subject.hyperparameters()
            coming.begun = True
        except Exception as error:
            self._fail(error)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        coming, watch = self._coming, self._watch
        if not self._open or not coming.begun or coming.number != self.step:
            return
        try:
            watch.finish_step(coming.batches)
            # With this the step is taken: whatever interrupts, before or after it, leaves nothing half done.
            self._journal.add(
                Row(
                    coming.metadata, self._hyperparameters, self._phase, coming.boundary,
                    watch.training, watch.off_mode, coming.batches,
                )
            )  # fmt: skip
            self._versions = self._subject.versions()
            if self._plan.due(self.step):
                self._capture()
            if self._journal.is_full:
                self._commit()
        except Exception as error:
            self._fail(error)

    def _commit(self) -> None:
        self._watch.settle()
        self._journal.commit()

    def _check(self) -> None:
        if error := self._journal.problem():
            raise error

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, AadslError):
            said = AadslError(
                f"step {self.step} cannot be recorded: {type(error).__name__}: {error}",
                hint="what was committed before stays readable",
            )
            said.__cause__ = error
            error = said
        if self._on_error == "raise":
            raise error
        warnings.warn(f"{error}\nrecording stops here, training goes on", stacklevel=3)
        # Hooks stay until close(): PyTorch may be going through them right now.
        self._open = False
        self._end()

    def _end(self) -> None:
        """Commit what waits and let go of the folder; where that was interrupted, it may be called again."""
        if self._ended:
            return
        self._watch.settle()
        self._journal.close()
        self._lock.release()
        atexit.unregister(self._close_at_exit)
        _open_ones.discard(self)
        self._ended = True

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _leave_to_parent(self) -> None:
        """In a forked process: the recording is that of the process which began it."""
        self._open, self._ended = False, True


_open_ones: WeakSet[Recorder] = WeakSet()


def _leave_all_to_parent() -> None:
    for recorder in list(_open_ones):
        recorder._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
