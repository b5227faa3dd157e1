"""Questions answered: exactly where that is asked for or affordable, by estimates that know their error elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.core.members import describe
from aadsl.core.progress import Progress
from aadsl.core.units import seconds_of
from aadsl.estimators import Additive, Auto, Effects, Estimator, Query, Retraining, require_estimable, stage_sums
from aadsl.estimators.base import Behavior, Floats, no_estimate
from aadsl.interventions import Intervention
from aadsl.propagation import FlatState, NotFiniteError
from aadsl.replayed.history import History
from aadsl.replayed.workers import Workers
from aadsl.study.budget import TimeBudget, allotted, unaffordable, unestimable
from aadsl.study.cache import EffectCache
from aadsl.study.cost_model import Costs
from aadsl.study.evidence import Comparisons
from aadsl.study.exact_answers import METHOD, ExactAnswers, exact_steps, first_of, firsts_of
from aadsl.study.identity import Identifier, Identity
from aadsl.study.outcome import UNCOMPARED, Outcome, Price, counted, no_bounds
from aadsl.study.reconstructed import missed, without_mismatch
from aadsl.study.spot_check import SpotCheck
from aadsl.study.trust import Level

SPREAD = 10.0  # seconds of work from which on workers are asked: to start, they take half as long


class Answering:
    """Answers queries about one run.

    Args:
        history: the run.
        cache: effects that were computed before.
        exact: exact answers.
        spot_check: whether the run is what happened.
        workers: who does portions of long work; None where all is done here.
    """

    def __init__(
        self,
        history: History,
        cache: EffectCache,
        exact: ExactAnswers,
        spot_check: SpotCheck,
        workers: Workers | None = None,
    ) -> None:
        self.history, self.cache, self.exact, self.spot_check = history, cache, exact, spot_check
        self.workers = workers
        self.identifier = Identifier(history, cache.digests)
        self.costs = Costs(history)
        self.pairs = Comparisons()

    def answer(self, query: Query, method: Estimator, progress: Progress) -> Outcome:
        """Answer by the estimator; by ``auto``, within its budget.

        Raises:
            AadslError: the trajectory fails, a behavior has no gradient and the estimator needs one, or the budget
                allows no answer.
        """
        if method.needs_gradient:
            require_estimable(self.history, query)
        identity = self.identity(progress, query.behaviors)
        if isinstance(method, Auto):
            return self._within(identity, query, method, TimeBudget(seconds_of(method.budget)), progress)
        if isinstance(method, Retraining):
            return self.exactly(identity, query, progress, method)
        return self._estimated(identity, query, method, progress)

    def compared(self, query: Query, method: Estimator, progress: Progress) -> tuple[Outcome, Outcome]:
        """Return estimates beside exact answers, which later estimates get their intervals from."""
        require_estimable(self.history, query)
        identity = self.identity(progress, query.behaviors)
        exact = self.exactly(identity, query, progress)
        return self._estimated(identity, query, method, progress), exact

    def steps(self, query: Query, method: Estimator, progress: Progress) -> Outcome:
        """Estimate the effect of every step alone: ``step_effect`` of the effects.

        Raises:
            AadslError: the estimator is not additive, or a behavior has no gradient.
        """
        require_estimable(self.history, query)
        if not isinstance(method, Additive):
            raise AadslError(
                f"{describe(method)} gives no effects of single steps", hint="use first_order(), which is additive"
            )
        alone = tuple(replace(behavior, per_example=False) for behavior in query.behaviors)
        identity = self.identity(progress, query.behaviors)
        return self._estimated(identity, replace(query, behaviors=alone), method, progress)

    def model(self, member: NDArray[np.bool_], intervention: Intervention, progress: Progress) -> FlatState:
        """Return ζ_T of one stage, (1, T) true at its steps."""
        query = Query(member, (), intervention)
        identity, rides = self._vouched(self.identity(progress), query, progress)[:2]
        return self.exact.model(identity, query, progress, control=rides)

    def identity(self, progress: Progress, behaviors: Sequence[Behavior] = ()) -> Identity:
        """Read the run's files, its end, which a killed run did not store, and behaviors off it; return the identity.

        Raises:
            AadslError: a behavior gives no numbers, or has nothing to do with the model that it is given.
        """
        identity = self.identifier.now(progress)
        self.history.replay_end(progress)
        self.cache.observed(identity, behaviors)
        return identity

    def _vouched(self, identity: Identity, query: Query, progress: Progress) -> tuple[Identity, bool, dict[str, str]]:
        """Compare states; return under what answers are kept, whether a control run rides along, and what to note."""
        control = self.spot_check.control(identity, first_of(query), progress)
        rides = not control.same_bits and not control.doubt.failure
        notes = control.doubt.attributes | ({UNCOMPARED: control.uncompared} if control.uncompared else {})
        return control.doubt.marked(identity), rides, notes

    def exactly(self, identity: Identity, query: Query, progress: Progress, method: Retraining = METHOD) -> Outcome:
        """Train again without each stage; the control run makes that exact."""
        with self.history.waypoints.wanted(firsts_of(query)):
            identity, rides, notes = self._vouched(identity, query, progress)
            workers = self._workers_for(self._seconds_to_train(identity, query))
            repeats = method.times(self.history, rides)
            effects, noise, why = self.exact.answer(
                identity, query, progress, control=rides, workers=workers, repeats=repeats
            )
            noise = noise + without_mismatch(self.exact, identity, query, progress, control=rides)
        exactly, stages = "" if UNCOMPARED in notes else " exact,", len(query.members)
        by = f"{counted(stages)}{exactly} by retraining{f' {repeats} times' if repeats > 1 else ''}"
        notes |= {"not_kept": why} if why else {}
        return Outcome(
            METHOD, effects, np.ones(stages, dtype=bool), noise, no_bounds(query), by, notes, repeats=repeats
        )

    def _estimated(self, identity: Identity, query: Query, method: Estimator, progress: Progress) -> Outcome:
        """Estimate every stage; exact answers that are known already say how far off that may be."""
        sweep = partial(self._swept, query=query, method=method, progress=progress)
        (effects, why), doubt = self.spot_check.guarded(identity, progress, sweep)
        identity = doubt.marked(identity)
        known = self.exact.known(identity, query)
        if known.any():
            truth, _, _ = self.exact.answer(identity, replace(query, members=query.members[known]), progress)
            self._pair(method, query, effects, known, truth.effect)
        notes = doubt.attributes | ({"not_kept": why} if why else {})
        bounds, none = self.pairs.bounds(method, query, effects), np.zeros(len(query.members), dtype=bool)
        by = f"estimated by {describe(method)}"
        return Outcome(method, effects, none, np.zeros_like(effects.effect), bounds, by, notes)

    def _swept(self, identity: Identity, query: Query, method: Estimator, progress: Progress) -> tuple[Effects, str]:
        if isinstance(method, Additive) and not any(behavior.per_example for behavior in query.behaviors):
            cost = method.cost(self.history, query)
            workers = self.workers and self._workers_for(self.costs.seconds(method, cost))
            asked = query.behaviors, query.intervention
            swept, why = self.cache.step_effects(identity, method, *asked, progress, workers)
            return Effects(stage_sums(query, swept), step_effect=swept.per_step, growth=swept.growth), why
        return self.cache.effects(identity, method, query, progress)

    def _within(
        self, identity: Identity, query: Query, method: Auto, budget: TimeBudget, progress: Progress
    ) -> Outcome:
        """Answer exactly what the budget covers; estimate the rest."""
        price = self.price(identity, query)
        estimate = self.chosen(query, method, price, budget)
        if estimate.exact:
            return self.exactly(identity, query, progress)
        try:
            answer = self._estimated(identity, query, estimate, progress)
        except NotFiniteError as error:
            raise unestimable(error, price.total) from error
        chosen = allotted(answer.effects.effect, price.stages, max(0.0, budget.left - price.control))
        return self.confirmed(identity, query, estimate, answer, chosen, progress) if chosen.any() else answer

    def chosen(self, query: Query, method: Auto, price: Price, budget: TimeBudget) -> Estimator:
        """Return what answers: exact retraining where the budget covers it or an estimate takes longer, or an estimate.

        Raises:
            AadslError: the budget does not cover it, and a behavior cannot be estimated.
        """
        if price.total <= budget.left:
            return METHOD
        if (why := no_estimate(self.history, query)) or not all(one.differentiable for one in query.behaviors):
            raise unaffordable(query, price.total, budget, why)
        estimate = method.estimate
        longer = self.costs.seconds(estimate, estimate.cost(self.history, query))
        return METHOD if price.total <= longer else estimate

    def confirmed(
        self,
        identity: Identity,
        query: Query,
        method: Estimator,
        answer: Outcome,
        chosen: NDArray[np.bool_],
        progress: Progress,
    ) -> Outcome:
        """Return an answer of estimates with the ``chosen`` stages (S,) exact, and intervals for the rest."""
        exact = self.exactly(identity, replace(query, members=query.members[chosen]), progress)
        self._pair(method, query, answer.effects, chosen, exact.effects.effect)
        bounds = self.pairs.bounds(method, query, answer.effects)
        effect, noise = answer.effects.effect.copy(), answer.noise.copy()
        effect[chosen], noise[chosen] = exact.effects.effect, exact.noise
        examples = {k: values.copy() for k, values in answer.effects.example_effects.items()}
        for k, values in examples.items():
            values[chosen] = exact.effects.example_effects[k]
        effects = replace(answer.effects, effect=effect, example_effects=examples)
        by = f"{int(chosen.sum())} of {counted(len(chosen))} exact, by retraining, the others {answer.by}"
        return Outcome(method, effects, chosen, noise, bounds, by, answer.notes | exact.notes)

    def price(self, identity: Identity, query: Query) -> Price:
        """Return about how long exact answers take; a stage whose effects or model are kept costs nothing."""
        identity = self.spot_check.known.marked(identity)
        left = self.exact.to_train(identity, query)
        to_compare = self.spot_check.left_to_compare(identity, first_of(query))
        if not left.any() and not to_compare:
            return Price(np.zeros(len(left)), 0.0)
        gradient = self.costs.model(METHOD, "exact replay").gradient
        to_compare += self.history.length if query.intervention.decides_anew and left.any() else 0
        return Price(np.where(left, exact_steps(self.history, query), 0) * gradient, to_compare * gradient)

    def _seconds_to_train(self, identity: Identity, query: Query) -> float:
        """Return about how long the runs take that are left to do; nothing is measured where nobody wants to know."""
        return 0.0 if self.workers is None else float(self.price(identity, query).stages.sum())

    def _workers_for(self, seconds: float) -> Workers | None:
        """Return the workers, if there are any and the work is worth their start."""
        return self.workers if seconds >= SPREAD else None

    def confirmed_steps(
        self, query: Query, method: Estimator, estimates: Floats, top: int, budget: TimeBudget, progress: Progress
    ) -> Floats:
        """Return (T, K) exact effects of the ``top`` steps of each behavior, as many as the budget covers, else NaN."""
        exact = np.full(estimates.shape, np.nan)
        order = np.argsort(-np.abs(estimates), axis=0, kind="stable")[:top]
        wanted = list(dict.fromkeys(order.ravel().tolist()))  # the largest of all behaviors first
        single = replace(query, members=np.equal.outer(np.array(wanted), np.arange(len(estimates))))
        identity = self.identity(progress)
        price = self.price(identity, single)
        affordable = np.cumsum(price.stages) + price.control <= budget.left
        if affordable.any():
            steps, members = np.array(wanted)[affordable], single.members[affordable]
            answer = self.exactly(identity, replace(single, members=members), progress)
            exact[steps] = answer.effects.effect
        return exact

    def step_trust(self, query: Query, method: Estimator, answer: Outcome) -> list[tuple[Level, str]]:
        """Return for each behavior how far the effect of a step of typical size can be trusted, and why."""
        known = {"unverified": answer.notes.get("unverified_cause", "")}
        known["approximate"] = missed(self.history.trajectory.steps, 0, self.history.length)
        return [self.pairs.of_typical_step(method, query.intervention, b, **known) for b in query.behaviors]

    def _pair(
        self, method: Estimator, query: Query, estimates: Effects, known: NDArray[np.bool_], truth: Floats
    ) -> None:
        exact = np.full_like(estimates.effect, np.nan)
        exact[known] = truth
        self.pairs.add(method, query, estimates, exact, known)
