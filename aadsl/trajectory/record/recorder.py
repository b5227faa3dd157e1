"""Records a training run with one added line in the loop."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal
from weakref import WeakKeyDictionary

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from aadsl.core.arguments import checked
from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.core.files import expanded
from aadsl.data.examples import Examples
from aadsl.trajectory.record.announcements import announced
from aadsl.trajectory.record.journal import Journal, Tally
from aadsl.trajectory.record.loader import AnnouncedBatches, Store, Watches, watched
from aadsl.trajectory.record.loop import Loop
from aadsl.trajectory.record.noted import PlateauHook
from aadsl.trajectory.record.plans import StatePlan, plan_of
from aadsl.trajectory.record.process import begun, ended
from aadsl.trajectory.record.setting import setting_of
from aadsl.trajectory.record.vocabulary import require_storable
from aadsl.trajectory.record.watch import ForwardWatch


@checked
class Recorder:
    """Records every step that ``optimizer`` takes on ``model`` into the folder ``path``.

    Call :meth:`batch` before each ``optimizer.step()``; several calls before one step are its micro-batches. Use it
    as a context manager, or call :meth:`close`; a loop that ends in an exception leaves a readable trajectory.

    Args:
        path: folder to record into; made if need be. A run that is there is continued where the model stands.
        model: what is trained. Its forward is watched for train/eval mode and random numbers. A model in
            ``DistributedDataParallel`` has a recorder in each process; that of rank 0 writes, what all of them did.
        optimizer: any ``torch.optim`` optimizer over parameters of ``model``; or a list of them, ``[body, head]``. What
            they do between one batch and the next is one step: each steps once in it, or rests.
        data: the data set that ``indices`` point into; described, not stored.
        states: ``"auto"`` (about √(T/2) states, fewer where those would slow the training down), ``"sqrt"`` (as many
            in any case), ``"all"``, a number k or ``every(k)``, ``budget("2GiB")``.
        overwrite: replace a run that is there.
        on_error: ``"warn"`` ends the recording instead of the training when something fails.
        clip: declares that gradients are clipped before each step: the limit of their norm, or a ``Clip``.
        accumulate: declares how many micro-batches make one step; undeclared, steps may differ.
        adaptive: declares that batches, labels or losses depend on the model (pseudo-labels, adversarial examples,
            mining, policy gradients): replays take them as recorded, which lowers the trust, unless under rerun(…).
        averaged: an average of the weights that the loop keeps (an ``AveragedModel``, EMA), to ask about that model.
        generators: random generators of one's own that the loss or the model draws from, besides the global ones of
            PyTorch, Python and NumPy.
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
        states: str | int | StatePlan = "auto",
        overwrite: bool = False,
        on_error: Literal["raise", "warn"] = "raise",
        clip: Clip | float | None = None,
        accumulate: int | None = None,
        adaptive: bool = False,
        averaged: Any = None,
        generators: Sequence[Any] = (),
        step: int | None = None,
    ) -> None:
        self.path = expanded(path).absolute()  # the process may change its folder
        self._on_error = on_error
        plan = plan_of(states)
        self._data, self._data_length = data, None if data is None else len(Examples.of(data))
        self._hooks: list[Any] = []
        self._loaders: Watches = WeakKeyDictionary()
        self._open, self._ended, self._failed, self._superseded = False, True, False, False
        of_run = data, Clip.of(clip), accumulate, generators, overwrite, step
        try:
            self._setting = setting_of(self.path, model, optimizer, averaged, *of_run)
        except (OSError, UnicodeError) as error:
            hint = "is the disk full, or may nobody write there? Record elsewhere"
            self._fail(AadslError(f"cannot record into {self.path}: {error}", hint=hint))
            return
        self._subject, self._vocabulary = self._setting.subject, self._setting.vocabulary
        try:
            self._start(model, plan, accumulate, adaptive)
        except BaseException as error:
            self._end()
            self._remove_hooks()
            self._setting.let_go()
            if not isinstance(error, Exception):
                raise
            self._fail(error)

    @property
    def step(self) -> int:
        """Number of the next step."""
        return self._loop.step if hasattr(self, "_loop") else 0

    def _start(self, model: nn.Module, plan: StatePlan, accumulate: int | None, adaptive: bool) -> None:
        ranks, start = self._setting.ranks, self._setting.start
        self._watch = ForwardWatch(model, self._subject, self._enter_step, ranks is not None, self._setting.own)
        self._hooks += self._watch.hooks
        begun_with = start.header, start.step
        self._journal = Tally(*begun_with) if start.lock is None else Journal(self.path, plan, *begun_with)
        self._ended = False
        name = self.path.name or "run"
        self._loop = Loop(self._subject, self._watch, self._journal, start, ranks, name, accumulate, adaptive)
        self._hooks.append(PlateauHook(self._subject, self._loop.noted))
        # Of all optimizers, because another one may train this model, too, or take the place of the one that was given.
        self._hooks += [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        begun(self)
        self._open = True
        self._loop.begin_what_is_due()

    def batch(
        self, /, tensors: Any = None, *, indices: Any = None, size: Any = None, weight: Any = None, **metadata: Any
    ) -> None:
        """Announce the data of the coming step, before or after its forward and backward pass.

        Args:
            tensors: the batch itself, stored: tensors, NumPy arrays, text, numbers and None in tuples, lists and dicts,
                however they lie in each other, as the loss is to get them again; or
            indices: positions in the recorder's ``data``.
            size: number of examples; left out, that of the indices, or else the length of the first tensor.
            weight: factor of this micro-batch's loss in the loss of the step, Σ weight·loss. It is measured, where
                each has a ``backward()`` of its own; else it is one over their number. (A list is metadata of the
                examples.)
            metadata: text, true/false, number or 0-dim tensor for the step (``tag="badnet"``, ``loss=loss``), or a
                list as long as the batch for its examples. Without it the ``loss`` is what ``backward()`` is called
                on, in all; that of accumulated micro-batches which is told is weighted alike.
                Where some steps lack a number, it is kept as a float: exact up to 2**53.
        """
        if not self._open:
            self._require_folder()
            return
        try:
            if error := self._journal.problem():
                raise error
            given = tensors, indices, size, weight, metadata
            self._loop.announce(*announced(*given, self._vocabulary, self._data_length))
        except AadslError as error:
            self._fail(error.within(f"step {self.step}"))
        except Exception as error:
            self._fail(error)

    def batches(self, /, loader: Any, *, store: Store = "batches", **metadata: Any) -> AnnouncedBatches:
        """Return what ``loader`` yields, announced as it is taken: ``for batch in recorder.batches(loader, epoch=1):``.

        A ``DataLoader`` over a map-style dataset, shuffled, with workers, or prepared by Accelerate, tells which
        examples they are. Where these, looked up in ``data``, are not what came (random augmentation), and for whatever
        else yields batches, batches are stored, which is said once; or, with ``store="seeds"``, the states of random
        generators, where these give them again. ``metadata`` as of :meth:`batch`. Raises AadslError for no loader.
        """
        watch = watched(loader, self._data, self._loaders, store == "seeds")
        return AnnouncedBatches(loader, watch, self.batch, metadata)

    def forward_begins(self) -> None:
        """Say that a micro-batch's forward pass begins now.

        Only needed where the loop calls parts of the model, not the model, so that the recorder cannot see it, or draws
        random numbers before it calls the model (the noise of diffusion): say it before that.
        """
        if self._open:
            self._watch.told()

    def phase(self, name: str | int, reset: bool | None = None) -> None:
        """Say that a new phase begins with the next step.

        ``reset``: whether the optimizer starts afresh there; left out, its buffers are looked at when the phase begins.
        """
        if self._open:
            require_storable("phase", str(name))
            self._loop.begin_phase(str(name), reset)

    def flush(self, *, state: bool = False) -> None:
        """Commit the steps so far, with ``state`` the present one too, and wait for the disk. Raises AadslError."""
        if self._open:
            self._loop.commit(state)
            self._journal.flush()
            if error := self._journal.problem():
                self._fail(error)

    def close(self) -> None:
        """Commit everything, with the final state. Raises AadslError where that fails; a second call does nothing."""
        self._remove_hooks()
        problem: Exception | None = None
        if self._open and not self._ended:
            if not self._failed and sys.exc_info()[0] is None:
                self._loop.tell_what_is_left()
            try:
                self._loop.capture_end()
            except Exception as error:
                problem = error
        self._end()
        if self._open:
            self._open = False
            if problem := problem or self._journal.problem():
                self._fail(problem)

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

    def _enter_step(self) -> bool:
        """Begin a step where a forward pass begins; return whether recording goes on."""
        if self._open:
            try:
                self._loop.enter_step(passing=True)
            except Exception as error:
                self._fail(error)
        return self._open

    def _before_step(self, optimizer: Optimizer, *given: Any) -> None:
        if self._open:
            try:
                if optimizer not in self._subject.optimizers:
                    self._loop.stepped_by(optimizer)
                if optimizer in self._subject.optimizers:
                    self._loop.before_step(optimizer)
            except Exception as error:
                self._fail(error)

    def _after_step(self, optimizer: Optimizer, *given: Any) -> None:
        if self._open and optimizer in self._subject.optimizers:
            try:
                self._loop.after_step()
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failed = True
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
        if hasattr(self, "_loop"):
            self._loop.complete()
        self._watch.settle()
        self._journal.close()
        self._setting.let_go()
        ended(self)
        self._ended = True

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def superseded(self) -> None:
        """Say at the next batch that another recorder took the folder over."""
        self._superseded = True

    def _require_folder(self) -> None:
        if self._superseded:
            self._superseded = self._on_error == "raise"  # a warning is said once
            hint = "go on with that one, or record into another folder"
            self._fail(AadslError(f"another recorder of this process took {self.path} over", hint=hint))

    def leave_to_parent(self) -> None:
        """In a forked process: leave the recording to the one that began it."""
        self._open, self._ended = False, True
