"""A study: a run with its stages and behaviors, and the questions one can ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.core.exclusive import one_at_a_time
from aadsl.core.progress import Progress, silent
from aadsl.estimators import (
    Additive,
    Behavior,
    Effects,
    Estimator,
    Query,
    require_differentiable,
    stage_sums,
)
from aadsl.estimators.base import Floats, final_readouts
from aadsl.interventions import Intervention
from aadsl.propagation import LossFunction
from aadsl.replayed.history import History
from aadsl.replayed.training_data import TrainingData
from aadsl.study.cache import EffectCache
from aadsl.study.calibration import calibrate, single_steps
from aadsl.study.cost_model import Rehearsal, measured, memory_of
from aadsl.study.entries import EntryStore
from aadsl.study.error_bound import bound_factors
from aadsl.study.identity import Identifier
from aadsl.study.names import Names
from aadsl.study.plan import Plan, plan_for
from aadsl.study.question import DEFAULT_ESTIMATOR, DEFAULT_INTERVENTION, Question
from aadsl.study.resolution import estimator_of, query_of
from aadsl.study.results import calibration_dataset, dataset_of, judged, provenance
from aadsl.study.spot_check import SpotCheck
from aadsl.study.trust import Calibration
from aadsl.trajectory import Trajectory
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
        loss: LossFunction,
        data: Any = None,
        device: str | torch.device = "auto",
        memory: str | int | None = None,
        unverified: bool = False,
    ) -> None:
        Names.__init__(self, trajectory.steps)
        self.trajectory = trajectory
        self.data = data
        self.history = History(trajectory, model=model, loss=loss, data=data, device=device, memory=memory)
        entries = EntryStore(Path(f"{trajectory.path}.effects"))
        self.cache = EffectCache(self.history, entries)
        self.spot_check = SpotCheck(self.history, entries, tolerated=unverified)
        self._identifier = Identifier(self.history)
        self._calibrations: dict[tuple[Estimator, Intervention, Behavior], Calibration] = {}

    @property
    def training_data(self) -> TrainingData:
        """What the recorded indices point into, of each run."""
        return self.history.data

    @one_at_a_time
    def step_effects(
        self,
        behaviors: Sequence[str],
        *,
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.DataArray:
        """Return the first-order effect of every step alone, over (step, behavior), with attributes as :meth:`score`.

        Raises:
            AadslError: an unknown name, a behavior without gradient, or an estimator that is not additive.
        """
        query, method = self._resolved(Question((), tuple(behaviors), estimator, intervention))
        require_differentiable(query.behaviors)
        if not isinstance(method, Additive):
            raise AadslError(
                f"{type(method).__name__} gives no effects of single steps", hint="use first_order(), which is additive"
            )
        effects, notes = self._answered(query, method, progress or silent)
        coordinates = {**self.steps.coords, "behavior": [b.name for b in query.behaviors]}
        title = "effects of single training steps on behaviors of the final model"
        attributes = provenance(title, plan_for(self.history, query, method), self.trajectory, notes)
        return xr.DataArray(effects.step_effect, coordinates, ("step", "behavior"), "step_effect", attributes)

    @one_at_a_time
    def score(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
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
            estimator is additive, ``step_effect``. Attributes say which question it answers and how; ``not_kept``
            among them says why the answer could not be kept for the next time, where that is so.

        Raises:
            AadslError: an unknown name, a behavior that needs a gradient and has none, or a trajectory that fails.
        """
        names = self.stage_names(stages)
        query, method = self._resolved(Question(tuple(names), tuple(behaviors), estimator, intervention))
        if method.needs_gradient:
            require_differentiable(query.behaviors)
        effects, notes = self._answered(query, method, progress or silent)
        calibrations = [self._calibrations.get((method, query.intervention, behavior)) for behavior in query.behaviors]
        trust = judged(method, effects, calibrations, notes.get("unverified_cause", ""))
        title = "effects of training stages on behaviors of the final model"
        attributes = provenance(title, plan_for(self.history, query, method), self.trajectory, notes)
        return dataset_of(self.steps, names, query, effects, self._observed(query.behaviors), trust, attributes)

    @one_at_a_time
    def retrain(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
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
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
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
        try:
            identity = self._identifier.now()
        except AadslError:  # files that are damaged have no digest; the report says so
            identity = None
        return self.spot_check.verify(samples, identity, progress or silent)

    @one_at_a_time
    def check(
        self,
        behaviors: Sequence[str],
        *,
        samples: int = 8,
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Compare estimated effects of a few single steps with exact replays; later scores report what was found.

        One random step of each of ``samples`` equal stretches of the run is taken; each costs one replay from there to
        the end.

        Returns:
            A Dataset over ``behavior``: ``slope``, ``correlation``, ``relative_error`` and the ``low`` and ``high``
            end of its 90% interval.
        """
        question = Question((), tuple(behaviors), estimator, intervention)
        query = replace(query_of(question, self), members=single_steps(self.history.length, samples))
        require_differentiable(query.behaviors)
        method, report = estimator_of(question).choose(self.history, query), progress or silent
        doubt = self.spot_check.require(self._identifier.now(), report)
        found = calibrate(self.history, method, query, report)
        self._calibrations |= {
            (method, query.intervention, behavior): one for behavior, one in zip(query.behaviors, found, strict=True)
        }
        return calibration_dataset([b.name for b in query.behaviors], found).assign_attrs(doubt.attributes)

    @one_at_a_time
    def error_bound(self, stages: Sequence[str]) -> xr.Dataset:
        """Return Theorem 4.1's bound on the error of first-order effects, up to its constant, over ``stage``."""
        names = self.stage_names(stages)
        doubt = self.spot_check.require(self._identifier.now(), silent)
        return bound_factors(self.history, self.members(names), names).assign_attrs(doubt.attributes)

    @one_at_a_time
    def plan(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
    ) -> Plan:
        """Return what :meth:`score` would compute and what that costs, without computing it.

        One gradient and one Hessian-vector product are timed, and the memory that they take is measured. Without
        ``stages`` the plan is that of :meth:`step_effects`.
        """
        query, method = self._resolved(Question(tuple(stages), tuple(behaviors), estimator, intervention))
        plan = plan_for(self.history, query, method)
        rehearsal = Rehearsal(self.history, method, plan.cost.direction)
        costs = measured(rehearsal)
        identity = self.spot_check.known.marked(self._identifier.now())
        return replace(
            plan,
            seconds=costs.seconds(plan.cost),
            exact_seconds=costs.seconds(plan.exact),
            memory=memory_of(rehearsal, query),
            kept=self.cache.knows(identity, method, query),
        )

    def _answered(self, query: Query, method: Estimator, progress: Progress) -> tuple[Effects, dict[str, str]]:
        """Return the effects, and what is to be noted of them; the trajectory is spot-checked first."""
        identity = self._identifier.now()
        doubt = self.spot_check.require(identity, progress)
        identity, asked = doubt.marked(identity), (query.behaviors, query.intervention)
        if isinstance(method, Additive) and not any(behavior.per_example for behavior in query.behaviors):
            swept, why = self.cache.step_effects(identity, method, *asked, progress)
            effects = Effects(stage_sums(query, swept), step_effect=swept.per_step, growth=swept.growth)
        else:
            effects, why = self.cache.effects(identity, method, query, progress)
        return effects, doubt.attributes | ({"not_kept": why} if why else {})

    def _resolved(self, question: Question) -> tuple[Query, Estimator]:
        """Return the question with its names looked up, and the estimator that answers it."""
        query = query_of(question, self)
        return query, estimator_of(question).choose(self.history, query)

    def _observed(self, behaviors: Sequence[Behavior]) -> Floats:
        """Return (K,) the behaviors of the observed final model."""
        state, readouts = final_readouts(self.history, behaviors)
        return np.array([float(readout.values(state).mean()) for readout in readouts])
