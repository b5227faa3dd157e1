"""The training loop as a recorder sees it: which step comes next, what is due before it, and what it was."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.trajectory.record.announcements import ComingStep
from aadsl.trajectory.record.journal import Journal
from aadsl.trajectory.record.plans import StatePlan
from aadsl.trajectory.record.resume import Start
from aadsl.trajectory.record.rows import MicroBatch, Row
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.record.watch import ForwardWatch
from aadsl.trajectory.store.specs import BOUNDARY, BUFFERS_WRITTEN, OPTIMIZER_WRITTEN, WEIGHTS_WRITTEN
from aadsl.trajectory.store.tensors import pack


class Loop:
    """Follows a loop over the steps of ``subject`` and tells ``journal``.

    Its methods are called where the loop announces a batch, begins a forward pass, and before and after the optimizer's
    step. What cannot be recorded raises AadslError.

    Args:
        subject: model and optimizer.
        watch: notes the forward passes.
        journal: where steps and states go.
        plan: which states are kept.
        start: where the recording begins; its phase is "" where one begins there.
        phase: name of the first phase, unless one goes on.
        accumulate: the declared number of micro-batches of each step; None where steps may differ.
    """

    def __init__(
        self,
        subject: Subject,
        watch: ForwardWatch,
        journal: Journal,
        plan: StatePlan,
        start: Start,
        phase: str,
        accumulate: int | None,
    ) -> None:
        self._subject, self._watch, self._journal, self._plan = subject, watch, journal, plan
        self._accumulate = accumulate
        self._phase = start.phase or phase
        self._reset: bool | None = None  # whether the coming phase resets the optimizer; None: look when it begins
        self._phase_due = not start.phase
        self._state_due = not start.stored
        self._captured = start.step if start.stored else -1
        self._coming = ComingStep(start.step)
        self._hyperparameters: list[dict[str, Any]] = []
        self._versions = subject.versions()
        self._first = start.step
        self._written: dict[str, bool] = {}
        self._wrote_before = False

    @property
    def step(self) -> int:
        """Number of the next step."""
        return self._journal.step

    def announce(self, batch: MicroBatch, told: dict[str, Any]) -> None:
        """Add a micro-batch, and metadata, to the coming step."""
        self.enter_step()
        self._coming.add(batch, told)
        self._watch.announced()

    def begin_phase(self, name: str, reset: bool | None) -> None:
        """Let a phase begin with the next step."""
        self._phase, self._reset = name, reset
        self._phase_due = self._state_due = True

    def enter_step(self) -> None:
        """Begin with what comes before a step's first micro-batch."""
        coming = self._next()
        if coming.begun:  # a closure's forward pass is within the step
            return
        if self._watch.gradients_discarded():
            # zero_grad() came instead of a step, as when mixed precision skips one, or accumulation is broken off.
            coming.forget()
            self._watch.forget()
        if self._subject.state_was_replaced():
            self._optimizer_replaced()
        if coming.number == self._first and not coming.batches and self._subject.written_since(self._versions):
            self._state_due = True  # weights were loaded after the recorder was made
            self._versions = self._subject.versions()
        self.begin_what_is_due()

    def _optimizer_replaced(self) -> None:
        """The optimizer's state was emptied, which begins a phase, or another one was loaded."""
        if self._subject.optimizer_is_fresh() and self.step:
            if not self._phase_due:
                self.begin_phase(f"{self._phase}, optimizer reset at {self.step}", True)
        elif self.step > self._first:
            self._written[OPTIMIZER_WRITTEN] = True
        self._state_due = True

    def stepped_by(self, other: Optimizer) -> None:
        """Go on with another optimizer that is about to step, where it takes the place of the one that was followed.

        Raises:
            AadslError: it trains parameters of the model beside that one.
        """
        name = self._subject.trains(other)
        if not name:
            return
        if not self._subject.follow(other):
            raise AadslError(
                f'another optimizer ({type(other).__name__}) is about to step "{name}", and is not recorded',
                hint="record all optimizers of a model together: Recorder(path, model, [first, second])",
            )
        if not self._phase_due:
            self.begin_phase(f"{self._phase}, new optimizer at {self.step}", None)
        # What the forward pass has already done to buffers belongs to this step, so ξ_t is gone.
        self._state_due = not self._subject.buffer_specs

    def begin_what_is_due(self) -> None:
        """Begin a phase and keep the state, where they are due."""
        if self._phase_due:
            fresh = self._subject.optimizer_is_fresh() if self._reset is None else self._reset
            self._coming.boundary = BOUNDARY["optimizer_reset" if fresh else "phase"]
            self._phase_due = False
        if self._state_due:
            self._capture()

    def before_step(self) -> None:
        """Check that the optimizer may take the step, and note how."""
        coming = self._next()
        coming.require_ready()
        self._require_declared(coming)
        self._subject.require_unchanged()
        self.begin_what_is_due()
        if not self._watch.seen:
            self._watch.look_at_mode()
        if wrote := self._subject.written_since(self._versions):
            self._written[WEIGHTS_WRITTEN] = True
            if not self._wrote_before and not self._subject.buffer_specs:
                self._capture()  # so that it is known between which steps this was
        self._wrote_before = wrote
        self._hyperparameters = self._subject.hyperparameters()
        coming.begun = True

    def after_step(self) -> None:
        """Add the step that was taken, and keep the state after it where the plan says so."""
        coming, watch = self._coming, self._watch
        if not coming.begun or coming.number != self.step:
            return
        loss = {} if watch.loss is None else {"loss": watch.loss}
        batches = watch.finish_step(coming.batches)
        if watch.buffers_written and self.step > self._first:
            self._written[BUFFERS_WRITTEN] = True
        # With this the step is taken: whatever interrupts, before or after it, leaves nothing half done.
        self._journal.add(
            Row(
                loss | coming.metadata(batches) | self._written, self._hyperparameters, self._phase, coming.boundary,
                watch.training, watch.off_mode, batches,
            )
        )  # fmt: skip
        self._versions, self._written = self._subject.versions(), {}
        if self._plan.due(self.step):
            self._capture()
        if self._journal.is_full:
            self.commit()

    def _require_declared(self, coming: ComingStep) -> None:
        """Raise AadslError where another number of micro-batches is used than declared; say which are left out."""
        count = len(coming.batches)
        used = self._watch.used(coming.batches) if count > 1 else count
        if used < count:
            _tell_unused(count - used, coming.number)
        if self._accumulate is not None and used != self._accumulate:
            raise AadslError(
                f"step {coming.number} took {used} micro-batches, accumulate={self._accumulate} was declared",
                hint="leave accumulate= out where steps differ",
            )

    def commit(self) -> None:
        """Queue the steps so far."""
        self._watch.settle()
        self._journal.commit()

    def capture_end(self) -> None:
        """Keep ξ_T, if it is that: since the last step nothing may have moved the parameters or the buffers."""
        stale = self._phase_due or (self._coming.begun and self._coming.number == self.step)
        moved = (self._watch.seen and self._subject.buffer_specs) or self._subject.versions() != self._versions
        known = self._captured == self.step or self._journal.problem() is not None
        if not (stale or moved or known or self._subject.change()):
            self._capture()

    def tell_what_is_left(self) -> None:
        """Say that batches were announced of which no step came."""
        coming = self._next()
        if coming.batches and not coming.begun and not self._watch.gradients_discarded():
            _tell_unused(len(coming.batches), coming.number)

    def _next(self) -> ComingStep:
        step = self._journal.step
        if self._coming.number != step:
            self._coming = ComingStep(step)
        return self._coming

    def _capture(self) -> None:
        self._subject.require_unchanged_tensors()
        self._subject.require_frozen(self._journal.header.fingerprints["frozen"])
        self._journal.state(self.step, pack(self._subject.entries()))
        self._captured = self.step
        self._state_due = False


def _tell_unused(count: int, step: int) -> None:
    batches = "a batch was" if count == 1 else f"{count} batches were"
    warnings.warn(
        f"{batches} announced for step {step}, and the step did not use {'it' if count == 1 else 'them'}: left out",
        stacklevel=5,
    )
