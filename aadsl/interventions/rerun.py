"""The loop runs again without the stage: what the model decided in it, it decides anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isclose
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aadsl.core.arguments import checked, shown
from aadsl.core.calls import called
from aadsl.core.errors import AadslError
from aadsl.data.alike import differing
from aadsl.data.examples import to_device
from aadsl.dynamics import RESTING, Hyper, Pausing
from aadsl.propagation import Step


@checked
@dataclass(frozen=True)
class Rerun:
    """The updates of the stage do not happen, and the model decides batches or learning rates anew as it then is.

    Other interventions take both as they were recorded. This one runs the loop again from its first step on: before
    each step the schedule sees the model, then ``batch_fn`` makes the batch, and the optimizer takes the step, unless
    that is of the stage. Only training again answers; with nothing left out it has to give what was recorded, which is
    looked at. Functions remember nothing from one run to the next but what they begin anew at step 0.

    Attributes:
        batch_fn: ``batch_fn(model, step)`` returns the batch that the loop made before the step: with pseudo-labels,
            adversarial, of hard examples. A list of them, where the step had several micro-batches. Random numbers it
            draws from a generator that it seeds by ``step``.
        scheduler: ``scheduler(optimizer)`` returns the schedule of the loop for an optimizer like the one at step 0: a
            ``ReduceLROnPlateau``, which is stepped where the loop did, or a function ``(model, step)`` of your own that
            is called before each step and sets the learning rates of ``optimizer``.
        metric: ``metric(model)`` is what a ``ReduceLROnPlateau`` is stepped with.
    """

    batch_fn: Callable[..., Any] | None = None
    scheduler: Callable[..., Any] | None = None
    metric: Callable[..., Any] | None = None

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = True
    question: ClassVar[str] = "had the loop run without the updates of the stage, the model deciding anew"

    def __post_init__(self) -> None:
        if self.batch_fn is None and self.scheduler is None:
            hint = "say what makes it: rerun(batch_fn=…), rerun(scheduler=…); skip() takes all as recorded"
            raise AadslError("rerun needs what the model decides: batches, or learning rates", hint=hint)
        if self.metric is not None and self.scheduler is None:
            raise AadslError("metric= is what a schedule is stepped with", hint="say scheduler=…, too")

    def vary(self, step: Step) -> Step:
        """Return the identity."""
        return replace(step, applied=False)


class Anew:
    """One such run: what is decided in it, step by step from the first one on.

    Args:
        rerun: what decides.
        member: (T,) true at the steps of the stage.
        strictly: whether what is decided before the stage has to be what was recorded.
    """

    def __init__(self, rerun: Rerun, member: NDArray[np.bool_], strictly: bool) -> None:
        self._rerun, self._member = rerun, member
        self._known = (int(np.argmax(member)) if member.any() else len(member)) if strictly else 0
        self._optimizer: StandIn | None = None
        self._schedule: Any = None

    def __call__(self, step: Step) -> Step:
        """Return the step as the model will decide it."""
        return replace(step, decides=self._decided, applied=step.applied and not self._member[step.index])

    def _decided(self, model: nn.Module, step: Step) -> Step:
        if self._rerun.scheduler is not None:
            step = self._at_rate(self._rerun.scheduler, model, step)
        if self._rerun.batch_fn is None:
            return step
        made = Made(called("batch_fn(model, step)", self._rerun.batch_fn, model, step.index), model, step)
        if step.index < self._known and (what := differing(made(), step.batches())):
            raise AadslError(
                f"batch_fn makes another batch of step {step.index} than the loop did: it has {what}",
                hint="it makes the batch of the model that it is given, in the mode that the loop made it in; it seeds "
                "a generator of its own by the step, and begins anew at step 0 with what it remembers",
            )
        return replace(step, batches=made)

    def _at_rate(self, make: Callable[..., Any], model: nn.Module, step: Step) -> Step:
        """Return the step with the learning rates of the schedule."""
        if self._optimizer is None:
            self._optimizer = StandIn(step)
            self._schedule = called("scheduler(optimizer)", make, self._optimizer)
        else:
            self._optimizer.step()
        if callable(self._schedule):
            called("the schedule(model, step)", self._schedule, model, step.index)
        elif not isinstance(self._schedule, ReduceLROnPlateau):
            raise AadslError(
                f"scheduler=… made {shown(self._schedule)}, and when the loop steps that is not known",
                hint="let it return a function (model, step), called before each step, that does what the loop does",
            )
        elif step.after_plateau:
            self._schedule.step(self._metric(model))
        hyper = self._optimizer.at_its_rates(step.hyper)
        if step.index < self._known:
            _require_recorded(step, hyper)
        return replace(step, hyper=hyper)

    def _metric(self, model: nn.Module) -> float:
        if self._rerun.metric is None:
            raise AadslError("a plateau schedule is stepped with a metric", hint="say metric=…, a function of a model")
        return float(called("metric(model)", self._rerun.metric, model))


class Made:
    """The micro-batches of a step as they were made, on the device of the model."""

    def __init__(self, made: Any, model: nn.Module, step: Step) -> None:
        count, self._device = len(step.sizes), next(model.parameters()).device
        if count > 1 and not (isinstance(made, (list, tuple)) and len(made) == count):
            raise AadslError(
                f"step {step.index} had {count} micro-batches, and batch_fn does not return as many",
                hint="let it return a list of the micro-batches of each step",
            )
        self._parts = tuple(made) if count > 1 else (made,)

    def __call__(self) -> tuple[Any, ...]:
        """Return the micro-batches, their containers anew: a loss may take members out of them."""
        return tuple(to_device(part, self._device) for part in self._parts)

    def looked_up_in(self, data: Any) -> Made:
        """Return the same: they are of no data."""
        return self


class StandIn(Optimizer):
    """An optimizer whose parameter groups are those of a recorded step, for schedules to set their learning rates."""

    def __init__(self, step: Step) -> None:
        super().__init__([{"params": [torch.zeros(())], **hyper} for hyper in step.hyper], {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take no step: the run takes it."""

    def at_its_rates(self, hyper: Sequence[Hyper]) -> tuple[Hyper, ...]:
        """Return the scalars of groups with the learning rates that these have here."""
        pairs = zip(hyper, self.param_groups, strict=True)
        return tuple({**own, "lr": float(group["lr"])} if "lr" in own else own for own, group in pairs)


def _require_recorded(step: Step, hyper: Sequence[Hyper]) -> None:
    """Raise AadslError where a schedule sets another learning rate than the run had, in a group that was trained."""
    for rule, old, new in zip(step.dynamics, step.hyper, hyper, strict=True):
        if rule is RESTING or isinstance(rule, Pausing) or isclose(old.get("lr", 0), new.get("lr", 0), rel_tol=1e-6):
            continue
        raise AadslError(
            f"the schedule sets the learning rate {new['lr']:g} at step {step.index}, and the run had {old['lr']:g}",
            hint="scheduler=… makes the schedule of the loop for an optimizer as it was at step 0; where others set "
            "the rate, too, let it return a function (model, step) that does all of that before each step",
        )
