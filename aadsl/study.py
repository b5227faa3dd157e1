"""A study: a run with its stages and behaviors, and the questions one can ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from aadsl.cache import Effects
from aadsl.errors import AadslError
from aadsl.estimators import (
    ESTIMATORS,
    Additive,
    Answer,
    Auto,
    Behavior,
    Estimator,
    Question,
    require_differentiable,
    stage_sums,
)
from aadsl.history import History
from aadsl.interventions import INTERVENTIONS, Intervention
from aadsl.members import member_of
from aadsl.naming import Names
from aadsl.pace import Rehearsal, memory_of, pace_of
from aadsl.plan import Plan, plan_for
from aadsl.propagation import Loss, Progress, silent
from aadsl.reliability import bound_factors, check_steps, sampled_steps
from aadsl.results import check_dataset, dataset_of, provenance
from aadsl.soundness import Soundness
from aadsl.trajectory import Trajectory
from aadsl.trust import Check
from aadsl.turns import one_at_a_time
from aadsl.verification import Report


class Study(Names):
    """What is asked of one run.

    Args:
        trajectory: the recorded run.
        model: a model with the recorded parameters; it is copied, its weights do not matter.
        loss: ``loss(model, batch)``, the mean loss of a batch as a scalar tensor.
        data: what the recorded indices point into: tensors, a map-style dataset, a table of pandas or Hugging Face
            ``datasets``, or an xarray Dataset; ``(inputs, targets, table)`` adds the table's columns for ``where``.
            Of runs that followed on each other, a dict gives each its own: ``{"pretrain": a, "finetune": b}``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        memory: how much the states held during a sweep may take, such as ``"4GiB"``.
        unverified: answer although the trajectory fails verification; answers then say so in their attributes.

    Before the first answer is computed, the files and a small sample of steps are verified. On a trajectory that fails,
    what asks for effects raises AadslError with the cause.

    Raises:
        AadslError: model, data and trajectory do not fit together, or there is no such device.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        *,
        model: nn.Module,
        loss: Loss,
        data: Any = None,
        device: str | torch.device = "auto",
        memory: str | int | None = None,
        unverified: bool = False,
    ) -> None:
        Names.__init__(self, trajectory.steps)
        self.trajectory = trajectory
        self.data = data
        self.history = History(trajectory, model=model, loss=loss, data=data, device=device, memory=memory)
        self.effects = Effects(self.history)
        self.soundness = Soundness(self.effects, tolerated=unverified)
        self._checks: dict[tuple[Any, ...], Check] = {}

    @one_at_a_time
    def step_effects(
        self,
        behaviors: Sequence[str],
        *,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.DataArray:
        """Return the first-order effect of every step alone, over (step, behavior), with attributes as :meth:`score`.

        Raises:
            AadslError: an unknown name, a behavior without gradient, or an estimator that is not additive.
        """
        chosen = self.behaviors_of(behaviors)
        require_differentiable(chosen)
        method, change = self._first_order(estimator), self._intervention(intervention)
        doubts = self.soundness.doubts(progress or silent)
        effects = self.effects.step_effects(method, chosen, change, progress or silent).own
        coordinates = {**self.steps.coords, "behavior": [b.name for b in chosen]}
        title = "effects of single training steps on behaviors of the final model"
        attributes = provenance(self, title, self._every_step(chosen, change), method, doubts)
        return xr.DataArray(effects, coordinates, ("step", "behavior"), "step_effect", attributes)

    @one_at_a_time
    def score(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the effects of stages on behaviors.

        Args:
            stages: names of stages or families.
            behaviors: names of behaviors or behavior families.
            estimator: a name from :data:`aadsl.estimators.ESTIMATORS`, or one of its members with parameters.
            intervention: a name from :data:`aadsl.interventions.INTERVENTIONS`, or one of its members.
            progress: called as ``progress(what, done, total)``.

        Returns:
            A Dataset over (stage, behavior[, step, example]): ``effect``, ``observed``, ``member`` and, where the
            estimator is additive, ``step_effect``. Attributes say which question it answers and how.

        Raises:
            AadslError: an unknown name, a behavior that needs a gradient and has none, or a trajectory that fails.
        """
        names, question = self._question(stages, behaviors, intervention)
        report = progress or silent
        method = self._estimator(estimator, question)
        if method.needs_gradient:
            require_differentiable(question.behaviors)
        doubts = self.soundness.doubts(report)
        if isinstance(method, Additive) and not any(b.per_example for b in question.behaviors):
            effects = self.effects.step_effects(method, question.behaviors, question.intervention, report)
            answer = Answer(stage_sums(question, effects), step_effect=effects.own, growth=effects.growth)
        else:
            answer = self.effects.answer(method, question, report)
        checks = [self._checks.get((method, question.intervention, behavior)) for behavior in question.behaviors]
        return dataset_of(self, names, question, method, answer, checks, doubts)

    @one_at_a_time
    def retrain(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the exact effects, by training again without each stage; shaped like :meth:`score`."""
        exact = self.score(stages, behaviors, estimator="retraining", intervention=intervention, progress=progress)
        return exact.assign(retrained_effect=exact.effect.assign_attrs(long_name="exact effect"))

    @one_at_a_time
    def verify(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return estimated effects beside exact ones: :meth:`score` with ``retrained_effect`` added."""
        estimate = self.score(stages, behaviors, estimator=estimator, intervention=intervention, progress=progress)
        exact = self.retrain(stages, behaviors, intervention=intervention, progress=progress)
        return estimate.assign(retrained_effect=exact.retrained_effect).assign_attrs(exact_plan=exact.attrs["plan"])

    @one_at_a_time
    def verify_trajectory(self, *, samples: int = 8, progress: Progress | None = None) -> Report:
        """Check the files, the model and the data, and replay ``samples`` stretches between stored states.

        Returns:
            A report in plain words; where it fails, later questions are refused, unless ``unverified`` was given.
        """
        return self.soundness.verify(samples, progress or silent)

    @one_at_a_time
    def check(
        self,
        behaviors: Sequence[str],
        *,
        samples: int = 8,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Compare estimated effects of a few single steps with exact replays; later scores report what was found.

        One random step of each of ``samples`` equal stretches of the run is taken; each costs one replay from there to
        the end.

        Returns:
            A Dataset over ``behavior``: ``slope``, ``correlation``, ``relative_error`` and the ``low`` and ``high``
            end of its 90% interval.
        """
        chosen, change = self.behaviors_of(behaviors), self._intervention(intervention)
        method, steps = self._estimator(estimator), sampled_steps(self.history.length, samples)
        require_differentiable(chosen)
        self.soundness.require(progress or silent)
        checks = check_steps(self.history, method, chosen, change, steps, progress or silent)
        self._checks |= {(method, change, b): check for b, check in zip(chosen, checks, strict=True)}
        return check_dataset([b.name for b in chosen], checks).assign_attrs(self.soundness.doubts(progress or silent))

    @one_at_a_time
    def error_bound(self, stages: Sequence[str]) -> xr.Dataset:
        """Return Theorem 4.1's bound on the error of first-order effects, up to its constant, over ``stage``."""
        names = self.stage_names(stages)
        self.soundness.require(silent)
        bound = bound_factors(self.history, np.stack([self.stages[n].to_numpy() for n in names]), names)
        return bound.assign_attrs(self.soundness.doubts(silent))

    @one_at_a_time
    def plan(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        estimator: Any = "first_order",
        intervention: Any = "skip",
    ) -> Plan:
        """Return what :meth:`score` would compute and what that costs, without computing it.

        One gradient and one Hessian-vector product are timed, and the memory that they take is measured. Without
        ``stages`` the plan is that of :meth:`step_effects`.
        """
        change = self._intervention(intervention)
        if stages:
            _, question = self._question(stages, behaviors, change)
        else:
            question = self._every_step(self.behaviors_of(behaviors), change)
        method = self._estimator(estimator, question)
        plan = plan_for(self.history, question, method)
        rehearsal = Rehearsal(self.history, method, plan.cost.direction)
        pace = pace_of(rehearsal)
        return replace(
            plan,
            seconds=pace.seconds(plan.cost),
            exact_seconds=pace.seconds(plan.exact),
            memory=memory_of(rehearsal, question),
            kept=self.effects.known(method, question),
        )

    def _question(
        self, stages: Sequence[str], behaviors: Sequence[str], intervention: Any
    ) -> tuple[list[str], Question]:
        names = self.stage_names(stages)
        members = np.stack([self.stages[name].to_numpy() for name in names])
        return names, Question(members, tuple(self.behaviors_of(behaviors)), self._intervention(intervention))

    def _every_step(self, behaviors: Sequence[Behavior], intervention: Intervention) -> Question:
        every = np.ones((1, self.history.length), dtype=bool)
        return Question(every, tuple(behaviors), intervention)

    def _estimator(self, estimator: Any, question: Question | None = None) -> Estimator:
        chosen: Estimator = (
            member_of("estimator", ESTIMATORS, estimator, {}) if isinstance(estimator, str) else estimator
        )
        return chosen.choose(self.history, question) if isinstance(chosen, Auto) and question is not None else chosen

    def _first_order(self, estimator: Any) -> Additive:
        method = self._estimator(estimator)
        if not isinstance(method, Additive):
            raise AadslError(
                f"{type(method).__name__} gives no effects of single steps", hint="use first_order(), which is additive"
            )
        return method

    def _intervention(self, intervention: Any) -> Intervention:
        by_name = isinstance(intervention, str)
        chosen: Intervention = member_of("intervention", INTERVENTIONS, intervention, {}) if by_name else intervention
        return chosen
