"""What is asked of a run: how would behaviors differ, had an intervention happened at the steps of stages?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from aadsl.core.arguments import checked
from aadsl.core.exclusive import one_at_a_time
from aadsl.core.families import named
from aadsl.core.progress import Progress, silent
from aadsl.core.units import seconds_of
from aadsl.data.coordinates import beside_answers
from aadsl.estimators import Auto, Behavior, Estimator, Query
from aadsl.estimators.base import Floats
from aadsl.interventions import Intervention
from aadsl.study.answering import Answering
from aadsl.study.budget import TimeBudget
from aadsl.study.exact_answers import METHOD
from aadsl.study.names import Names
from aadsl.study.plan import plan_for
from aadsl.study.presence import answered
from aadsl.study.question import DEFAULT_ESTIMATE, DEFAULT_ESTIMATOR, DEFAULT_INTERVENTION, Question
from aadsl.study.ranking import ranked
from aadsl.study.resolution import estimator_of, of_steps, query_of
from aadsl.study.results import dataset_of, over_all, provenance, steps_array, with_steps
from aadsl.study.shapley import PERMUTATIONS
from aadsl.study.shares import shared, shares_dataset
from aadsl.trajectory import Trajectory


@checked
class Questions(Names):
    """The questions that one can ask of a run, by the names of its stages and behaviors.

    Args:
        trajectory: the recorded run.
        answering: what answers.
        within: the budget of answers that name none.

    Raises:
        AadslError: the budget is no duration.
    """

    def __init__(self, trajectory: Trajectory, answering: Answering, within: str | float) -> None:
        super().__init__(trajectory.steps)
        self._labels = beside_answers(trajectory.steps)
        seconds_of(within)
        self.trajectory, self.history = trajectory, answering.history
        self._answering, self._within = answering, within

    @one_at_a_time
    def step_effects(
        self,
        behaviors: str | Iterable[str],
        *,
        estimator: Estimator | str = DEFAULT_ESTIMATE,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.DataArray:
        """Return the estimated effect of every step alone, over (step, behavior), with attributes as :meth:`score`.

        ``trust`` and ``trust_reason`` over ``behavior`` are coordinates of it; so are ``low`` and ``high``, the ends of
        90% intervals, where :meth:`check` or other exact answers on single steps gave any.

        Raises:
            AadslError: an unknown name, a behavior without gradient, or an estimator that is not additive.
        """
        query, method = self._resolved(Question((), named(behaviors), estimator, intervention))
        method = of_steps(method)
        answer = self._answering.steps(query, method, progress or silent)
        title = "effects of single training steps on behaviors of the final model"
        attributes = provenance(title, plan_for(self.history, query, method, of_each=True), self.trajectory, answer)
        trust, effects = self._answering.step_trust(query, method, answer), answer.effects.step_effect
        assert effects is not None  # the estimator is additive
        bounds = self._answering.pairs.step_bounds(method, query, effects)
        return steps_array(self._labels, query, answer, trust, bounds, attributes)

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
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
        *,
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        within: str | float | None = None,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the effects of stages on behaviors: exact ones where they can be afforded.

        Args:
            stages: names of stages or families, or one name.
            behaviors: names of behaviors or behavior families, or one name.
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
        query, method = self._resolved(Question(tuple(names), named(behaviors), estimator, intervention), within)
        answer = answered(self._answering, query, method, progress or silent)
        title = "effects of training stages on behaviors of the final model"
        attributes = provenance(title, plan_for(self.history, query, method, answer.method), self.trajectory, answer)
        return dataset_of(self._labels, self._named(names), query, answer, self._observed(query.behaviors), attributes)

    @one_at_a_time
    def retrain(
        self,
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
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
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
        *,
        estimator: Estimator | str = DEFAULT_ESTIMATE,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return estimated effects beside exact ones, which the trust is about.

        That is :meth:`score` with ``retrained_effect`` added, and ``trust``, ``trust_reason`` and ``noise`` of it.
        """
        stages, behaviors = named(stages), named(behaviors)
        exact = self.retrain(stages, behaviors, intervention=intervention, progress=progress)
        estimate = self.score(stages, behaviors, estimator=estimator, intervention=intervention, progress=progress)
        of_exact = exact[["retrained_effect", "trust", "trust_reason", "noise"]]
        return estimate.assign(of_exact.data_vars).assign_attrs(exact_plan=exact.attrs["plan"])

    @one_at_a_time
    def rank(
        self,
        behaviors: str | Iterable[str],
        stages: str | Iterable[str] = (),
        *,
        top: int = 10,
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
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
        behaviors = named(behaviors)
        if asked := named(stages):
            answer = self.score(
                asked,
                behaviors,
                estimator=estimator,
                intervention=intervention,
                within=within,
                progress=progress,
            )
            return ranked(answer, "stage", top)
        query, method = self._resolved(Question((), named(behaviors), estimator, intervention), within)
        budget = TimeBudget(seconds_of(method.budget if isinstance(method, Auto) else self._within))
        method = of_steps(method)
        effects = self.step_effects(behaviors, estimator=method, intervention=intervention, progress=progress)
        own = effects.to_numpy()[: self.history.length]
        confirmed = self._answering.confirmed_steps(query, method, own, top, budget, progress or silent)
        known = over_all(self._labels, confirmed, after=np.nan)
        return ranked(with_steps(self._labels, effects), "step", top, known)

    @one_at_a_time
    def shares(
        self,
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
        *,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        permutations: int | None = None,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the share of each stage in what they do together: parts that add up, as effects alone do not.

        The share is the Shapley value (:mod:`aadsl.study.shapley`) of the exact effects of training without several of
        the stages. Where stages overlap, a step is left out with any of the stages that hold it, and what it did is
        divided among these. The stages may hold all steps: what is left is the untrained model.

        Args:
            stages: a family, or names of stages and families; two stages at least.
            behaviors: names of behaviors or behavior families, also without gradient.
            intervention: as of :meth:`score`.
            permutations: how many orders of the stages are drawn, an even number, 20 unless given; where all coalitions
                are no more than these would ask for (up to six stages, unless given), shares are exact.
            progress: called as ``progress(what, done, total)``.

        Returns:
            A Dataset over (stage, behavior): ``share``, the ends of its 90% interval ``share_low`` and ``share_high``,
            whether it is ``exact``, ``trust`` with its reason, ``effect`` of the stage alone, ``member``; over
            (behavior): ``together``, the sum of the shares, ``observed`` and ``without`` any of the stages.

        Raises:
            AadslError: an unknown name, a single stage, ``permutations`` that is odd or below 8, or a trajectory that
                fails.
        """
        names = list(dict.fromkeys(self.stage_names(stages)))
        query, method = self._resolved(Question(tuple(names), named(behaviors), METHOD, intervention))
        query = replace(query, behaviors=tuple(replace(b, per_example=False) for b in query.behaviors))
        count = PERMUTATIONS if permutations is None else permutations
        found = shared(self._answering, query, count, progress or silent)
        title = "shares of training stages in behaviors of the final model"
        attributes = provenance(title, plan_for(self.history, found.runs, method), self.trajectory, found.answer)
        observed = self._observed(query.behaviors)
        return shares_dataset(self._labels, self._named(names), query, found, observed, attributes)

    def _resolved(self, question: Question, within: str | float | None = None) -> tuple[Query, Estimator]:
        """Return the question with its names looked up, and the estimator that answers it."""
        method = estimator_of(question, within)
        if isinstance(method, Auto) and method.within is None:
            method = replace(method, within=self._within)
        query = query_of(question, self)
        return replace(query, members=self._until_then(query.members)), method

    def _until_then(self, members: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return stages (S, T) without the steps after the model that is asked about."""
        return members[:, : self.history.length]

    def _named(self, names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        return {name: self.stages[name].to_numpy() for name in names}

    def _observed(self, behaviors: Sequence[Behavior]) -> Floats:
        """Return (K,) the behaviors of the observed final model."""
        return self._answering.cache.observed(self._answering.identifier.latest, behaviors)
