"""Plans with their price: what a question will take on this machine, measured on one step of its run."""

from __future__ import annotations

from dataclasses import replace

from aadsl.core.units import in_words, seconds_of, sized
from aadsl.estimators import Auto, Estimator, Query, Retraining, require_estimable
from aadsl.estimators.together import way_of
from aadsl.study.answering import Answering
from aadsl.study.budget import TimeBudget
from aadsl.study.cost_model import Rehearsal, memory_of
from aadsl.study.outcome import Price
from aadsl.study.plan import Plan, plan_for


def planned(answering: Answering, query: Query, method: Estimator, of_each: bool = False) -> Plan:
    """Return what answering would compute, and measure what that costs; ``of_each``: of every step alone."""
    history, query = answering.history, query.of_present
    if not len(query.members):
        return plan_for(history, query, method)
    identity = answering.identifier.now()
    if method.needs_gradient:
        require_estimable(history, query)
    chosen, choice = method, ""
    if isinstance(method, Auto):
        price, budget = answering.price(identity, query), TimeBudget(seconds_of(method.budget))
        chosen = answering.chosen(query, method, price, budget)
        choice = _choice(query, chosen, price, budget)
    plan = plan_for(history, query, method, chosen, of_each)
    exact, control = answering.costs.seconds(Retraining(), plan.exact), answering.price(identity, query).control
    rehearsal = Rehearsal(history, chosen, plan.cost.direction)
    identity = answering.spot_check.known.marked(identity)
    return replace(
        plan,
        seconds=exact + control if chosen.exact else answering.costs.seconds(chosen, plan.cost),
        exact_seconds=exact + control,
        memory=memory_of(rehearsal, query, plan.cost),
        kept=answering.cache.knows(identity, chosen, query),
        choice=choice,
        way=way_of(history, query.members, query.intervention).words if chosen.exact else "",
        store=_store(answering),
    )


def _choice(query: Query, chosen: Estimator, price: Price, budget: TimeBudget) -> str:
    """Say what the budget is spent on."""
    stages, whole = len(query.members), in_words(price.total)
    of_them = f"{stages} {'stage' if stages == 1 else 'stages'}"
    control = f", {in_words(price.control)} of it for the control run" if price.control else ""
    if chosen.exact:
        return f"exactly, all {of_them}: about {whole}{control}; {budget} allows that, or an estimate takes longer"
    return (
        f"estimates of {of_them}, then exact answers as far as {budget} goes; exactly, all would take {whole}{control}"
    )


def _store(answering: Answering) -> str:
    models = answering.exact.models
    taken = models.nbytes
    return (
        f"models trained without a stage are kept beside the run: {sized(taken)} of {sized(models.limit)}"
        if taken
        else ""
    )
