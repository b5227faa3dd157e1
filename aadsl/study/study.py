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
from aadsl.core.units import bytes_of, seconds_of
from aadsl.estimators import Auto, Behavior, Estimator, Query
from aadsl.estimators.base import Floats, final_readouts
from aadsl.interventions import Intervention
from aadsl.propagation import LossFunction
from aadsl.replayed.history import History
from aadsl.replayed.training_data import TrainingData
from aadsl.study.answering import Answering
from aadsl.study.budget import DEFAULT_BUDGET
from aadsl.study.cache import EffectCache
from aadsl.study.calibration import calibrations, single_steps
from aadsl.study.entries import EntryStore
from aadsl.study.error_bound import bound_factors
from aadsl.study.exact_answers import ExactAnswers
from aadsl.study.model_store import ModelStore
from aadsl.study.names import Names
from aadsl.study.plan import Plan, plan_for
from aadsl.study.planning import planned
from aadsl.study.question import DEFAULT_ESTIMATE, DEFAULT_ESTIMATOR, DEFAULT_INTERVENTION, Question
from aadsl.study.ranking import ranked
from aadsl.study.resolution import estimator_of, intervention_of, query_of
from aadsl.study.results import calibration_dataset, dataset_of, provenance, steps_array, with_steps
from aadsl.study.spot_check import SpotCheck
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
        within: the time that an answer may take, such as ``"2 min"``; within it exact answers come first.
        kept: how much disk the models trained without a stage may take beside the trajectory; those not used for
            longest go first.
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
        within: str | float = DEFAULT_BUDGET,
        kept: str | int = "4 GiB",
        unverified: bool = False,
    ) -> None:
        Names.__init__(self, trajectory.steps)
        self.trajectory = trajectory
        self.data = data
        self.history = History(trajectory, model=model, loss=loss, data=data, device=device, memory=memory)
        entries = EntryStore(Path(f"{trajectory.path}.effects"))
        cache = EffectCache(self.history, entries)
        models = ModelStore(entries.folder, bytes_of(kept), lambda: self.history.final)
        self.spot_check = SpotCheck(self.history, entries, tolerated=unverified)
        exact = ExactAnswers(self.history, cache, models)
        self._within = within
        self._answering = Answering(self.history, cache, exact, self.spot_check, seconds_of(within))

    @property
    def training_data(self) -> TrainingData:
        """What the recorded indices point into, of each run."""
        return self.history.data

    @one_at_a_time
    def step_effects(
        self,
        behaviors: Sequence[str],
        *,
        estimator: Estimator | str = DEFAULT_ESTIMATE,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.DataArray:
        """Return the estimated effect of every step alone, over (step, behavior), with attributes as :meth:`score`.

        ``trust`` and ``trust_reason`` over ``behavior`` are coordinates of it.

        Raises:
            AadslError: an unknown name, a behavior without gradient, or an estimator that is not additive.
        """
        query, method = self._resolved(Question((), tuple(behaviors), estimator, intervention))
        answer = self._answering.steps(query, method, progress or silent)
        title = "effects of single training steps on behaviors of the final model"
        attributes = provenance(title, plan_for(self.history, query, method), self.trajectory, answer)
        return steps_array(self.steps, query, answer, self._answering.step_trust(query, method, answer), attributes)

    @one_at_a_time
    def with_step_effects(
        self,
        answer: xr.Dataset,
        *,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return an answer with ``step_effect`` on its behaviors, as :meth:`step_effects` gives it."""
        names = [str(name) for name in answer["behavior"].values]
        return with_steps(answer, self.step_effects(names, intervention=intervention, progress=progress))

    @one_at_a_time
    def score(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        within: str | float | None = None,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the effects of stages on behaviors: exact ones where they can be afforded.

        Args:
            stages: names of stages or families.
            behaviors: names of behaviors or behavior families.
            estimator: a name from :data:`aadsl.estimators.ESTIMATORS`, or one of its members with parameters.
            intervention: a name from :data:`aadsl.interventions.INTERVENTIONS`, or one of its members.
            within: the budget of ``auto``, such as ``"2 min"``; unless given, that of the study.
            progress: called as ``progress(what, done, total)``.

        Returns:
            A Dataset over (stage, behavior[, step, example]): ``effect``, whether it is ``exact``, the ends of its 90%
            interval ``effect_low`` and ``effect_high``, ``trust`` with its reason, ``observed``, ``member`` and, where
            the estimator is additive, ``step_effect``. Attributes say which question it answers and how; ``not_kept``
            among them says why the answer could not be kept for the next time, where that is so.

        Raises:
            AadslError: an unknown name, a behavior that needs a gradient and has none, a budget that allows no answer,
                or a trajectory that fails.
        """
        names = self.stage_names(stages)
        query, method = self._resolved(Question(tuple(names), tuple(behaviors), estimator, intervention), within)
        answer = self._answering.answer(query, method, progress or silent)
        title = "effects of training stages on behaviors of the final model"
        attributes = provenance(title, plan_for(self.history, query, method), self.trajectory, answer)
        return dataset_of(self.steps, names, query, answer, self._observed(query.behaviors), attributes)

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
        estimator: Estimator | str = DEFAULT_ESTIMATE,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return estimated effects beside exact ones, which the trust is about.

        That is :meth:`score` with ``retrained_effect`` added, and ``trust``, ``trust_reason`` and ``noise`` of it.
        """
        exact = self.retrain(stages, behaviors, intervention=intervention, progress=progress)
        estimate = self.score(stages, behaviors, estimator=estimator, intervention=intervention, progress=progress)
        of_exact = exact[["retrained_effect", "trust", "trust_reason", "noise"]]
        return estimate.assign(of_exact.data_vars).assign_attrs(exact_plan=exact.attrs["plan"])

    @one_at_a_time
    def rank(
        self,
        behaviors: Sequence[str],
        stages: Sequence[str] = (),
        *,
        top: int = 10,
        estimator: Estimator | str | None = None,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        within: str | float | None = None,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the steps, or of ``stages`` those, with the largest effects, whichever their sign.

        Steps are estimated; the largest are then confirmed by exact answers, as many as the budget allows. Stages are
        answered as :meth:`score` answers them.

        Returns:
            The answer over (stage or step, behavior), with ``ranked``, ``ranked_effect``, ``ranked_exact`` and
            ``ranked_trust`` over (rank, behavior).
        """
        if stages:
            answer = self.score(
                stages,
                behaviors,
                estimator=estimator or DEFAULT_ESTIMATOR,
                intervention=intervention,
                within=within,
                progress=progress,
            )
            return ranked(answer, "stage", top)
        budget = self._answering.budget(within)
        query, method = self._resolved(Question((), tuple(behaviors), estimator or DEFAULT_ESTIMATE, intervention))
        effects = self.step_effects(behaviors, estimator=method, intervention=intervention, progress=progress)
        confirmed = self._answering.confirmed_steps(query, method, effects.to_numpy(), top, budget, progress or silent)
        return ranked(with_steps(self.steps, effects), "step", top, confirmed)

    @one_at_a_time
    def counterfactual(
        self,
        stages: str | Sequence[str],
        *,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> nn.Module:
        """Return the model as training without the stage would have made it (of several: without any of them).

        A copy of the model that the study was given, in eval mode, ready to evaluate, to generate with, or to save.

        Raises:
            AadslError: an unknown name, or a trajectory that fails.
        """
        names = self.stage_names([stages] if isinstance(stages, str) else stages)
        question = Question(tuple(names), (), intervention=intervention)
        together = np.any(self.members(names), axis=0, keepdims=True)
        state = self._answering.model(together, intervention_of(question), progress or silent)
        return self.history.model_at(state)

    @one_at_a_time
    def verify_trajectory(self, *, samples: int = 8, progress: Progress | None = None) -> Report:
        """Check the files, the model and the data, and replay ``samples`` stretches between stored states.

        Returns:
            A report in plain words; where it fails, later questions are refused, unless ``unverified`` was given.
        """
        try:
            identity = self._answering.identifier.now()
        except AadslError:  # files that are damaged have no digest; the report says so
            identity = None
        return self.spot_check.verify(samples, identity, progress or silent)

    @one_at_a_time
    def check(
        self,
        behaviors: Sequence[str],
        *,
        samples: int = 10,
        estimator: Estimator | str = DEFAULT_ESTIMATE,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Compare estimated effects of a few single steps with exact replays; later answers report what was found.

        One random step of each of ``samples`` equal stretches of the run is taken; each costs one replay from there to
        the end. From nine on, estimates of stages about as short get intervals from them.

        Returns:
            A Dataset over ``behavior``: ``slope``, ``correlation``, ``relative_error`` and the ``low`` and ``high``
            end of its 90% interval.
        """
        query, method = self._resolved(Question((), tuple(behaviors), estimator, intervention))
        query = replace(query, members=single_steps(self.history.length, samples))
        estimate, exact = self._answering.compared(query, method, progress or silent)
        found = calibrations(query, estimate.effects.effect, exact.effects.effect)
        return calibration_dataset([b.name for b in query.behaviors], found).assign_attrs(exact.notes)

    @one_at_a_time
    def error_bound(self, stages: Sequence[str]) -> xr.Dataset:
        """Return Theorem 4.1's bound on the error of first-order effects, up to its constant, over ``stage``."""
        names = self.stage_names(stages)
        doubt = self.spot_check.require(self._answering.identifier.now(), silent)
        return bound_factors(self.history, self.members(names), names).assign_attrs(doubt.attributes)

    @one_at_a_time
    def plan(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        estimator: Estimator | str | None = None,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
    ) -> Plan:
        """Return what :meth:`score` would compute and what that costs, without computing it.

        One gradient and one Hessian-vector product are timed, and the memory that they take is measured. Without
        ``stages`` the plan is that of :meth:`step_effects`.
        """
        estimator = estimator or (DEFAULT_ESTIMATOR if stages else DEFAULT_ESTIMATE)
        query, method = self._resolved(Question(tuple(stages), tuple(behaviors), estimator, intervention))
        return planned(self._answering, query, method)

    def _resolved(self, question: Question, within: str | float | None = None) -> tuple[Query, Estimator]:
        """Return the question with its names looked up, and the estimator that answers it."""
        method = estimator_of(question, within)
        if isinstance(method, Auto) and method.within is None:
            method = replace(method, within=self._within)
        return query_of(question, self), method

    def _observed(self, behaviors: Sequence[Behavior]) -> Floats:
        """Return (K,) the behaviors of the observed final model."""
        state, readouts = final_readouts(self.history, behaviors)
        return np.array([float(readout.values(state).mean()) for readout in readouts])
