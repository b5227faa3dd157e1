"""The training loop as a recorder sees it: which step comes next, what is due before it, and what it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.dynamics import equal_but_for_swaps, trained_weights
from aadsl.trajectory.record.announcements import ComingStep, tell_unused
from aadsl.trajectory.record.around import Surroundings, skips
from aadsl.trajectory.record.journal import Tally
from aadsl.trajectory.record.noted import Noted
from aadsl.trajectory.record.ranks import Mode, Ranks
from aadsl.trajectory.record.resume import Start
from aadsl.trajectory.record.rows import MicroBatch, Row
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.record.watch import ForwardWatch
from aadsl.trajectory.store.specs import BOUNDARY, OPTIMIZER_WRITTEN, SKIPPED, WEIGHTS_WRITTEN
from aadsl.trajectory.store.tensors import Packed, pack


class Loop:
    """Follows a loop over the steps of ``subject`` and tells ``journal``.

    Its methods are called where the loop announces a batch, begins a forward pass, and before and after an optimizer's
    step. What cannot be recorded raises AadslError.

    A step is what the optimizers do after one batch, each once at most. It is complete when all have stepped; or when
    what can only come after it does, such as the next batch: then the others rest in it.

    Args:
        subject: model and optimizers.
        watch: notes the forward passes.
        journal: where steps and states go.
        start: where the recording begins; its phase is "" where one begins there.
        phase: name of the first phase, unless one goes on.
        ranks: the processes that train the model together; None for this one alone.
        accumulate: the declared number of micro-batches of each step; None where steps may differ.
        adaptive: whether what the steps are depends on the model, as declared. (``noted`` is of the coming step.)
    """

    def __init__(
        self,
        subject: Subject,
        watch: ForwardWatch,
        journal: Tally,
        start: Start,
        ranks: Ranks | None,
        phase: str,
        accumulate: int | None,
        adaptive: bool,
    ) -> None:
        self._subject, self._watch, self._journal = subject, watch, journal
        self._ranks, self._accumulate = ranks, accumulate
        self._phase = start.phase or phase
        self._reset: bool | None = None  # whether the coming phase resets the optimizer; None: look when it begins
        self._phase_due = not start.phase
        self._state_due = not start.stored or subject.average is not None
        self._captured = start.step if start.stored else -1
        self._coming = ComingStep(start.step)
        self._hyperparameters: list[dict[str, Any]] = []
        self._versions = subject.versions()
        self._around = Surroundings(subject, journal.header.fingerprints["frozen"])
        self._first = start.step
        self.noted = Noted(adaptive)
        self._wrote_before = self._skipped = False
        self._end = [sample.clone() for sample in subject.samples]  # what they were after the last step

    @property
    def step(self) -> int:
        """Number of the next step."""
        coming = self._next()
        return coming.number + (bool(coming.taken) and not coming.stepping)

    def announce(self, batch: MicroBatch, told: dict[str, Any]) -> None:
        """Add a micro-batch, and metadata, to the coming step."""
        self.enter_step().add(batch, told)
        self._watch.announced()

    def begin_phase(self, name: str, reset: bool | None) -> None:
        """Let a phase begin with the next step."""
        self.complete()
        self._phase, self._reset = name, reset
        self._phase_due = self._state_due = True
        self._watch.entered = False

    def enter_step(self, *, passing: bool = False) -> ComingStep:
        """Begin with what comes before a step's first micro-batch, which may be ``passing``; return the step."""
        coming = self._next()
        if coming.begun is not None:
            if coming.stepping:  # a closure's forward pass is within the step
                return coming
            self.complete()
            coming = self._next()
        if self._watch.gradients_discarded():
            # zero_grad() came instead of a step, as when mixed precision skips one, or accumulation is broken off; the
            # next batch may have been announced before it. Or the batch passes again: gradients served to change it.
            if skipped := self._watch.was_skipped:
                self.noted.decided(SKIPPED)
            still = self._subject.versions() == self._versions and torch.equal(self._end[0], self._subject.samples[0])
            ahead = self._watch.announced_ahead(again=passing and still and not skipped)
            coming.forget(ahead)
            self._watch.forget(ahead)
        if not (coming.batches or self._watch.seen):
            self._look_around(coming)
        if self._phase_due or self._state_due:
            self.begin_what_is_due()
        return coming

    def _look_around(self, coming: ComingStep) -> None:
        """See what happened before a step: an optimizer's state was replaced, or weights were loaded at first."""
        if self._around.state_was_replaced():
            self._optimizer_replaced()
        if coming.number == self._first and self._subject.written_since(self._versions):
            self._state_due = True
            self._versions = self._subject.versions()

    def _optimizer_replaced(self) -> None:
        """An optimizer's state was emptied, which begins a phase, or another one was loaded."""
        step = self._journal.step
        if self._subject.fresh_groups() and step:
            if not self._phase_due:
                self.begin_phase(f"{self._phase}, optimizer reset at {step}", None)
        elif step > self._first:
            self.noted.add(OPTIMIZER_WRITTEN)
        self._state_due = True

    def stepped_by(self, other: Optimizer) -> None:
        """Go on with another optimizer that is about to step, where it takes the place of one that was followed.

        Raises:
            AadslError: it trains parameters of the model beside that one.
        """
        name = self._around.trained_by(other)
        if not name:
            return
        if not self._around.follow(other):
            raise AadslError(
                f'another optimizer ({type(other).__name__}) is about to step "{name}", and is not recorded',
                hint="record all optimizers of a model together: Recorder(path, model, [first, second])",
            )
        if not self._phase_due:
            self.begin_phase(f"{self._phase}, new optimizer at {self._journal.step}", None)
        # What the forward pass has already done to buffers belongs to this step, so ξ_t is gone.
        self._state_due = not self._subject.buffer_specs

    def begin_what_is_due(self) -> None:
        """Begin a phase and keep the state, where they are due."""
        if self._phase_due:
            every = list(range(self._subject.groups[-1]))
            fresh = self._subject.fresh_groups() if self._reset is None else every if self._reset else []
            self._coming.boundary = BOUNDARY["optimizer_reset" if fresh == every else "phase"]
            self._coming.fresh = [] if fresh == every else fresh
            self._phase_due = False
        if self._state_due:
            self._capture()

    def before_step(self, optimizer: Optimizer) -> None:
        """Check that an optimizer may take the step, and note how; one that fused kernels skip is none."""
        if skips(optimizer):
            self._skipped = not self._subject.written_since(self._versions)
            return
        coming = self._next()
        if optimizer in coming.taken:  # it takes the next one, which is to be announced
            self.complete()
            coming = self._next()
        coming.require_ready(optimizer)
        self._subject.require_unchanged()
        if self._ranks is not None:
            self._ranks.require_plain()
        if coming.taken:
            self._hyperparameters = self._subject.hyperparameters_of(optimizer, self._hyperparameters)
        else:
            count = len(coming.batches)
            coming.require_declared(self._watch.used(coming.batches) if count > 1 else count, self._accumulate)
            if self._watch.without_gradients:
                self._subject.require_unchanged_tensors()
            self.begin_what_is_due()
            if not self._watch.seen:
                self._watch.look_at_mode()
            self._hyperparameters = self._subject.hyperparameters()
            if self._subject.average is not None:
                self.noted.update(self._subject.average.taken())
        self._look_at_weights(coming)
        coming.begin(optimizer)

    def _look_at_weights(self, coming: ComingStep) -> None:
        """Note that something else than the optimizers wrote to weights, and keep the state after it."""
        wrote = self._subject.written_since(self._versions)
        if wrote:
            self.noted.add(WEIGHTS_WRITTEN)
            if not (self._wrote_before or self._subject.buffer_specs or coming.taken):
                self._capture()  # so that it is known between which steps this was
        self._wrote_before = wrote

    def after_step(self) -> None:
        """Note the step that an optimizer took, and add it where it was the last of them."""
        coming = self._coming
        if not coming.stepping:
            if self._skipped:  # what was written to has the values that it had
                self._versions, self._skipped = self._subject.versions(), False
            return
        if not coming.taken:
            coming.used = self._watch.finish_step(coming.batches)
            coming.loss = self._watch.loss
            self.noted.of_pass(self._watch, first=coming.number == self._first)
            if self._ranks is not None:
                mode = Mode(self._watch.training, self._watch.off_mode, self._watch.autocast)
                coming.used, coming.of_all = self._ranks.together(coming.number, coming.used, coming.metadata, mode)
        # With this the step is taken: whatever interrupts, before or after it, leaves nothing half done.
        coming.end()
        self._versions = self._subject.versions()
        self._end = [sample.clone() for sample in self._subject.samples]
        if self._journal.due(coming.number + 1):
            coming.after = self._packed()  # now, because much may happen until the next batch comes
        if len(coming.taken) == len(self._subject.optimizers):
            self._add(coming)

    def complete(self) -> None:
        """Add the step that optimizers have taken, and the state after it; those that have not rest in it."""
        coming = self._next()
        if coming.taken and not coming.stepping:
            self._add(coming, self._subject.groups_without(coming.taken))

    def _add(self, coming: ComingStep, resting: Sequence[int] = ()) -> None:
        watch = self._watch
        noted = self.noted.taken()
        metadata = coming.metadata | noted if noted else coming.metadata  # no new dict at each step
        self._journal.add(
            Row(
                metadata, self._hyperparameters, self._phase, coming.boundary,
                watch.training, watch.off_mode, coming.used, resting, coming.fresh,
            )
        )  # fmt: skip
        if coming.after is not None:
            self._keep(coming.after)
        if self._journal.is_full:
            self._commit()

    def commit(self, state: bool = False) -> None:
        """Queue the steps so far; with ``state`` the present state, too."""
        self.complete()
        if state:
            self._capture_present()
        self._commit()

    def _commit(self) -> None:
        self._watch.settle()
        self._journal.commit()

    def capture_end(self) -> None:
        """Keep ξ_T, and what an average took in since the last step."""
        self.complete()
        self._capture_present()
        if self._subject.average is not None:
            self._journal.tell(average=self._subject.average.at_end())

    def _capture_present(self) -> None:
        """Keep the present state, if nothing moved the parameters or the buffers since the last step.

        What was written to, and has the same samples, had an average in it for a while: a replay tells otherwise.
        """
        stale = self._phase_due or self._next().stepping
        captured = self._captured == self._journal.step and self._subject.average is None  # which may have moved since
        if not (stale or captured or self._journal.problem() is not None or self._subject.change()):
            with trained_weights(self._subject.optimizers) as swapped:
                same = equal_but_for_swaps if swapped else torch.equal  # versions do not tell of .data
                if all(map(same, self._end, self._subject.samples)):
                    self._capture()

    def tell_what_is_left(self) -> None:
        """Say that batches were announced of which no step came."""
        self.complete()
        coming = self._next()
        if coming.batches and not coming.stepping and not self._watch.gradients_discarded():
            tell_unused(len(coming.batches), coming.number)

    def _next(self) -> ComingStep:
        step = self._journal.step
        if self._coming.number != step:
            self._coming = ComingStep(step)
        return self._coming

    def _capture(self) -> None:
        self._keep(self._packed())

    def _packed(self) -> Packed:
        with self._journal.copying():
            self._subject.require_unchanged_tensors()
            self._around.require_frozen()
            return pack(self._subject.entries())

    def _keep(self, state: Packed) -> None:
        self._journal.state(self._journal.step, state)
        self._captured = self._journal.step
        self._state_due = False
