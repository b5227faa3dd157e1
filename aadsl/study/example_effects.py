"""Effects of single training examples: all of them to first order, and the largest by training again without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.core.units import in_words
from aadsl.estimators import Cost, FirstOrder, Query, require_estimable
from aadsl.estimators.base import Floats
from aadsl.estimators.example_scores import example_scores, self_influence
from aadsl.interventions import first_change
from aadsl.interventions.left_out import LeftOut
from aadsl.replayed.execution import Execution
from aadsl.study.answering import Answering
from aadsl.study.budget import TimeBudget
from aadsl.study.cache import EffectCache, reasons
from aadsl.study.consumed import ConsumedExamples, consumed
from aadsl.study.held_fixed import held_fixed
from aadsl.study.identity import Identity, Key
from aadsl.study.outcome import UNCOMPARED
from aadsl.study.reconstructed import missed
from aadsl.study.trust import Evidence, verdict

QUESTION = "how would the behavior differ had the loss of an example had no weight in the batches of the stage?"
INTERVENTION = "left_out()"
SCORES = "scores"


@dataclass
class ExampleEffects:
    """What single examples did.

    Attributes:
        examples: the N examples that the stages consumed.
        estimate: (S, K, N) the effect of leaving each out of the batches of a stage, to first order; NaN for those that
            the stage did not consume.
        exact: (S, K, N) the same by training again, where that was done; else NaN.
        noise: (S, K, N) the noise floor of the exact ones, zero elsewhere.
        influence: (S, N) how much each lowered its own loss at once; None where nobody asked.
        fixed: of each stage what is taken as recorded, although the model decided it.
        by: what answered, in words.
        notes: attributes of the answer.
        missed: (S,) which gaps of a reconstruction each stage goes over that miss their checkpoint, in words.
    """

    examples: ConsumedExamples
    estimate: Floats
    exact: Floats
    noise: Floats
    influence: Floats | None
    fixed: tuple[str, ...]
    by: str
    notes: dict[str, str]
    missed: list[str]

    @property
    def effect(self) -> Floats:
        """(S, K, N) the exact effect where it is known, else the estimate."""
        return np.where(np.isfinite(self.exact), self.exact, self.estimate)

    def trust(self) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Return how far each can be trusted, (S, K, N), and why; empty where there is no effect."""
        doubt, uncompared = self.notes.get("unverified_cause", ""), self.notes.get(UNCOMPARED, "")
        levels, reasons = (np.full(self.exact.shape, "", dtype=object) for _ in range(2))
        known = np.isfinite(self.exact)
        estimated = np.isfinite(self.estimate) & ~known
        for s, fixed in enumerate(self.fixed):
            own = estimated[s]
            levels[s, own], reasons[s, own] = verdict(Evidence(0.0, unverified=doubt, fixed=fixed))
        for place in zip(*np.nonzero(known), strict=True):
            evidence = Evidence(float(self.exact[place]), True, float(self.noise[place]))
            evidence = replace(evidence, unverified=doubt, uncompared=uncompared)
            evidence = replace(evidence, fixed=self.fixed[place[0]], approximate=self.missed[place[0]])
            levels[place], reasons[place] = verdict(evidence)
        return levels.astype(str), reasons.astype(str)


@dataclass(frozen=True)
class ExampleQuestion:
    """Which training examples of the stages did most to the behaviors?

    Attributes:
        query: the stages and behaviors; the intervention is that of each example.
        top: how many of each stage and behavior that helped most, and that hurt most, are answered exactly, as far as
            the budget goes.
        influence: whether each example's effect on its own loss is wanted.
    """

    query: Query
    top: int
    influence: bool

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """(T,) true at the steps of any of the stages."""
        return np.asarray(self.query.members.any(axis=0))


def example_effects(
    answering: Answering, asked: ExampleQuestion, budget: TimeBudget, progress: Progress
) -> ExampleEffects:
    """Return the effects of all examples of the stages, the largest exact as far as the budget goes.

    Raises:
        AadslError: the trajectory fails, steps or a behavior have no derivative, the loss terms of examples cannot be
            told apart, or the sweep leaves the finite numbers.
    """
    query, history = asked.query, answering.history
    require_estimable(history, query)
    identity = answering.identity(progress, query.behaviors)
    examples = consumed(history, asked.wanted)
    (scores, own, by, why), doubt = answering.spot_check.guarded(
        identity, progress, lambda marked: _swept(answering, marked, asked, len(examples.step), progress)
    )
    estimate = np.stack([[examples.totals(s, member) for s in scores.T] for member in query.members])
    influence = None if own is None else np.stack([examples.totals(own, member) for member in query.members])
    notes = doubt.attributes | ({"not_kept": why} if why else {})
    steps = history.trajectory.steps
    fixed = tuple(held_fixed(steps, first_change(member), query.intervention) for member in query.members)
    gaps = [missed(steps, first_change(member), history.length) for member in query.members]
    unknown, none = np.full_like(estimate, np.nan), np.zeros_like(estimate)
    found = ExampleEffects(examples, estimate, unknown, none, influence, fixed, by, notes, gaps)
    _confirm(answering, doubt.marked(identity), asked, found, budget, progress)
    return found


def _swept(
    answering: Answering, identity: Identity, asked: ExampleQuestion, count: int, progress: Progress
) -> tuple[Floats, Floats | None, str, str]:
    """Return (R, K) scores, (R,) self-influence if that is wanted, what computed them, and why they were not kept."""
    query, history, wanted = asked.query, answering.history, asked.wanted
    keys = answering.cache.keys_of(identity, ("examples", wanted), query.behaviors)
    kept = partial(_kept, answering.cache, count)
    known = {k: values for k, key in enumerate(keys) if (values := kept(key)) is not None}
    missing = [k for k in range(len(keys)) if k not in known]
    if missing:
        scores, _ = example_scores(history, [query.behaviors[k] for k in missing], wanted, Execution(progress))
        known |= dict(zip(missing, scores.T, strict=True))
        answering.cache.keep([keys[k] for k in missing], [{SCORES: known[k]} for k in missing])
    own_key, own = identity.key("self-influence", wanted), None
    if asked.influence and (own := kept(own_key)) is None:
        own = self_influence(history, wanted, Execution(progress))
        answering.cache.keep([own_key], [{SCORES: own}])
    columns = [known[k] for k in range(len(keys))]
    return np.stack(columns, axis=1), own, "estimated to first order", reasons(keys)


def _kept(cache: EffectCache, count: int, key: Key) -> Floats | None:
    """Return numbers of ``count`` rows that were computed before, None where there are none."""
    entry = None if key.digest is None else cache.entries.find(key.digest)
    values = None if entry is None else entry.get(SCORES)
    return values if values is not None and values.shape == (count,) and np.isfinite(values).all() else None


def _confirm(
    answering: Answering,
    identity: Identity,
    asked: ExampleQuestion,
    found: ExampleEffects,
    budget: TimeBudget,
    progress: Progress,
) -> None:
    """Train again without each of the largest, as far as the budget goes."""
    count, wanted = 0, list(_largest(found.estimate, asked.top))
    for s, example in wanted:
        query = without(found.examples, asked.query, s, example)
        if answering.price(identity, query).total > budget.left:
            continue
        answer = answering.exactly(identity, query, progress)
        found.exact[s, :, example], found.noise[s, :, example] = answer.effects.effect[0], answer.noise[0]
        found.notes |= answer.notes
        count += 1
    if count:
        exact = "exact, by training again without each" if UNCOMPARED not in found.notes else "trained again without"
        found.by = f"{found.by}, the {count} largest {exact}"


def without(examples: ConsumedExamples, query: Query, stage: int, example: int) -> Query:
    """Return the question what training without one example of a stage does to all behaviors."""
    places = examples.places(example, query.members[stage])
    member = np.zeros_like(query.members[stage])
    member[[step for step, _ in places]] = True
    alone = tuple(replace(behavior, per_example=False) for behavior in query.behaviors)
    return Query(member[None], alone, LeftOut(places))


def _largest(estimate: Floats, top: int) -> Iterator[tuple[int, int]]:
    """Yield stage and example of the ``top`` largest effects of either sign of each stage and behavior, those first
    that come first in their order."""
    order = np.argsort(np.nan_to_num(estimate), axis=-1, kind="stable")
    seen = set()
    for place, (s, k) in product(range(top), np.ndindex(*estimate.shape[:2])):
        for sign, ranked in ((1, order[s, k, ::-1]), (-1, order[s, k])):
            pair = s, int(ranked[place]) if place < len(ranked) else -1
            if pair not in seen and pair[1] >= 0 and sign * estimate[s, k, pair[1]] > 0:
                seen.add(pair)
                yield pair


def plan_of(answering: Answering, asked: ExampleQuestion, *, timed: bool = True) -> str:
    """Return in words what :func:`example_effects` computes; ``timed``: and how long that takes here."""
    query, history = asked.query, answering.history
    length = history.length - min(first_change(member) for member in query.members)
    wanted = int(asked.wanted.sum())
    products = len(query.behaviors) * (length + wanted)
    cost, method = Cost(length + 2.0 * products, products, "adjoint"), FirstOrder()
    times = f"{cost.gradients / history.length:.1f} times the training run"
    lines = [
        QUESTION,
        f"  by first_order() under {INTERVENTION}, adjoint, all examples of {wanted:,} steps",
        f"  the work of about {cost.gradients:,.0f} gradients with {products:,} Hessian-vector products: {times}",
    ]
    if asked.influence:
        lines.append("  self-influence: one backward pass more for each example of each of these steps")
    then = f"  then the {asked.top} largest effects of either sign on each behavior by training without the example"
    if timed:
        seconds = answering.costs.seconds(method, cost)
        again = length * answering.costs.model(method, "adjoint").gradient
        lines.append(f"  about {in_words(seconds)} on this machine")
        then += f", up to {in_words(again)} each"
    return "\n".join([*lines, f"{then}, as far as the budget goes"])
