"""How estimates of a development's stages follow the exact effects, over the examples of test sets."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import aadsl
from aadsl.core.fit import fit
from aadsl.estimators import Blocks, Estimator, FirstOrder, Linearized
from aadsl.propagation import Exact, Layerwise, NotFiniteError
from tests.paper.dvemb import dvemb
from tests.paper.runs import Development

AA_SCORE = "AA-Score"
DVEMB = "DVEmb"
METHODS: dict[str, Estimator] = {
    AA_SCORE: FirstOrder(curvature=Exact()),
    "AA-Score, layer by layer": FirstOrder(curvature=Layerwise()),
    "AA-Score, default curvature": FirstOrder(),
    "blocks": Blocks(),
    "linearized": Linearized(read="plug_in"),
}
BASELINES = {DVEMB: False, "DVEmb, η/(1 − μ)": True}


class Agreement(NamedTuple):
    """How estimates follow exact effects; NaN where they are not finite.

    Attributes:
        pearson: correlation.
        spearman: correlation of ranks.
        slope: of the estimates over the truth, through the origin.
        error: ‖estimate − exact‖ / ‖exact‖.
    """

    pearson: float
    spearman: float
    slope: float
    error: float


TITLES = {"pearson": "Pearson's r", "spearman": "Spearman's ρ", "slope": "Slope", "error": "Relative error"}


def agreement(estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> Agreement:
    """Return how ``estimate`` (n,) follows ``exact`` (n,)."""
    if not np.isfinite(estimate).all():
        return Agreement(np.nan, np.nan, np.nan, np.nan)
    found, ranks = fit(estimate, exact), [pd.Series(values).rank().to_numpy() for values in (estimate, exact)]
    return Agreement(found.correlation, fit(*ranks).correlation, found.slope, found.relative_error)


def compared(
    development: Development, protocol: str, methods: Sequence[str] = (*BASELINES, *METHODS)
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Record a development, train it again without each stage, and estimate that.

    Args:
        development: with its stages and test sets.
        protocol: the intervention: ``"skip"``, or ``"restart"``.
        methods: names of ``METHODS`` and ``BASELINES``.

    Returns:
        {method: {stage: {test set: the numbers of an Agreement}}}; under ``"exact"`` the mean and the root mean square
        of the exact effects.
    """
    with tempfile.TemporaryDirectory() as folder:
        study = development.record(Path(folder))
        asked = {"stages": [*development.stages], "behaviors": [*development.tests], "intervention": protocol}
        exact = effects(study, development, "retraining", **asked)
        estimates = {name: effects(study, development, METHODS[name], **asked) for name in methods if name in METHODS}
    estimates |= {name: dvemb(development, BASELINES[name]) for name in methods if name in BASELINES}
    found = {"exact": {}} | {name: {} for name in methods}
    for s, stage in enumerate(development.stages):
        truth = {test: values[s] for test, values in exact.items()}
        found["exact"][stage] = {test: [v.mean(), float(np.sqrt((v**2).mean()))] for test, v in truth.items()}
        for name in methods:
            found[name][stage] = {test: list(agreement(estimates[name][test][s], v)) for test, v in truth.items()}
    return found


def effects(
    study: aadsl.Study, development: Development, estimator: Estimator | str, **asked
) -> Mapping[str, NDArray[np.float64]]:
    """Return {test set: (S, n)}, NaN where the sweep left the finite numbers."""
    counts = {test: len(study.behaviors[test].examples) for test in development.tests}
    try:
        answer = study.score(estimator=estimator, **asked).example_effect
    except NotFiniteError:
        return {test: np.full((len(development.stages), count), np.nan) for test, count in counts.items()}
    return {test: answer.sel(behavior=test).to_numpy()[:, :count] for test, count in counts.items()}
