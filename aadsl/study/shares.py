"""Shares of stages in what they do together, from runs without their unions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.estimators import Effects, Query
from aadsl.estimators.base import Floats
from aadsl.study.answering import Answering
from aadsl.study.evidence import Bounds
from aadsl.study.exact_answers import METHOD
from aadsl.study.outcome import Outcome
from aadsl.study.presence import answered
from aadsl.study.results import Attributes, dataset_of
from aadsl.study.shapley import Coalitions, Division, shapley, unions


class Shared(NamedTuple):
    """How an effect was divided: the ``division``, the ``runs`` that it took as a query, and the ``answer``.

    The effects of the answer are the shares, and whether they are exact, their noise and their bounds are told of them.
    """

    division: Division
    runs: Query
    answer: Outcome


def shared(answering: Answering, query: Query, permutations: int, progress: Progress) -> Shared:
    """Divide the effect of the stages of ``query`` together among them: e(S) = γ(ξ_T) − γ(ζ_T without ∪S).

    Raises:
        AadslError: the stage is one, ``permutations`` is no even number from 8 on, or the trajectory fails.
    """
    asked: list[tuple[Query, Outcome]] = []

    def worth(coalitions: Coalitions) -> Floats:
        members, place = unions(query.members, coalitions)
        runs = replace(query, members=members)
        asked.append((runs, answered(answering, runs, METHOD, progress)))
        effect: Floats = asked[-1][1].effects.effect[place]
        return effect

    division = shapley(len(query.members), worth, permutations)
    ((runs, outcome),) = asked
    return Shared(division, runs, _judged_as_shares(division, outcome, permutations))


def _judged_as_shares(division: Division, outcome: Outcome, permutations: int) -> Outcome:
    """Return shares as an answer; a share is no better than the worst of the runs that it comes from."""
    shape = division.share.shape
    noise = np.broadcast_to(outcome.noise.max(axis=0), shape)
    bounds = Bounds(division.low, division.high, np.full(shape, division.coalitions))
    orders = "all orders" if division.exact else f"{permutations} orders drawn at random"
    by = f"shares over {orders} of {shape[0]} stages, from {division.coalitions} exact answers, by retraining"
    exact = np.full(shape[0], division.exact)
    return Outcome(outcome.method, Effects(division.share), exact, noise, bounds, by, outcome.notes)


def shares_dataset(
    steps: xr.Dataset,
    stages: Mapping[str, NDArray[np.bool_]],
    query: Query,
    found: Shared,
    observed: Floats,
    attributes: Attributes,
) -> xr.Dataset:
    """Return shares over (stage, behavior), labelled as :func:`aadsl.study.results.dataset_of` labels effects."""
    division, cells = found.division, ("stage", "behavior")
    labelled = dataset_of(steps, stages, query, found.answer, observed, attributes)
    labelled = labelled.rename(effect="share", effect_low="share_low", effect_high="share_high")
    said = {
        "share": "Shapley value of the stage: shares add up to the effect of all stages together",
        "share_low": "lower end of the 90% interval of the share",
        "share_high": "upper end of the 90% interval of the share",
        "exact": "exact share, from all coalitions of the stages",
        "trust": "how far the share can be trusted",
    }
    for name, words in said.items():
        labelled[name].attrs["long_name"] = words
    return labelled.assign(
        effect=(cells, division.alone, {"long_name": "behavior(observed) - behavior(without the stage alone)"}),
        together=("behavior", division.together, {"long_name": "effect of all stages together, the sum of the shares"}),
        without=("behavior", observed - division.together, {"long_name": "behavior without any of the stages"}),
    )
