"""Answers as labelled Datasets that say which question they answer and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from aadsl.core.version import __version__
from aadsl.estimators import Effects, Linearized, Query
from aadsl.estimators.base import Estimator, Floats
from aadsl.study.plan import Plan
from aadsl.study.trust import Calibration, Evidence, verdict
from aadsl.trajectory import Trajectory

Attributes = Mapping[str, Any]


def dataset_of(
    steps: xr.Dataset,
    stages: Sequence[str],
    query: Query,
    effects: Effects,
    observed: Floats,
    trust: tuple[NDArray[Any], NDArray[Any]],
    attributes: Attributes,
) -> xr.Dataset:
    """Return the answer over (stage, behavior, step[, example]), every axis labelled with names.

    Behaviors with fewer examples than others are padded with NaN along ``example``.

    Args:
        steps: what was recorded of every step.
        stages: the names of the query's stages.
        query: what was asked.
        effects: what was answered.
        observed: (K,) each behavior of the observed final model.
        trust: (S, K) levels, and (S, K) reasons, as :func:`judged` gives them.
        attributes: those of the Dataset, as :func:`provenance` gives them.
    """
    behaviors, (levels, reasons) = list(query.behaviors), trust
    variables: dict[str, Any] = {
        "effect": (
            ("stage", "behavior"),
            effects.effect,
            {"long_name": "behavior(observed) - behavior(counterfactual)"},
        ),
        "observed": ("behavior", observed, {"long_name": "behavior of the observed final model"}),
        "unit": ("behavior", [b.unit for b in behaviors]),
        "higher_is_better": ("behavior", [b.higher_is_better for b in behaviors]),
        "member": (("stage", "step"), query.members, {"long_name": "the step belongs to the stage"}),
        "trust": (("stage", "behavior"), levels, {"long_name": "how far the effect can be trusted"}),
        "trust_reason": (("stage", "behavior"), reasons, {"long_name": "why"}),
    }
    coordinates: dict[Any, Any] = {"stage": list(stages), "behavior": [b.name for b in behaviors]}
    if effects.step_effect is not None:
        described = {"long_name": "effect of the step alone"}
        variables["step_effect"] = (("step", "behavior"), effects.step_effect, described)
    if effects.example_effects:
        padded = _padded(query, effects.example_effects)
        variables["example_effect"] = (
            ("stage", "behavior", "example"),
            padded,
            {"long_name": "effect on each example"},
        )
        coordinates["example"] = np.arange(padded.shape[-1])
    # All at once: for every variable that comes later, xarray compares the indexes of a long run anew.
    coordinates |= dict(steps.variables)
    return xr.Dataset(variables, coordinates, dict(attributes))


def provenance(title: str, plan: Plan, trajectory: Trajectory, notes: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of an answer: which question it answers, how, of which run, and what is to be noted."""
    return {
        "title": title,
        "question": plan.question,
        "estimator": plan.estimator,
        "intervention": plan.intervention,
        "plan": str(plan),
        "exact": int(plan.is_exact),
        "trajectory": str(trajectory.path),
        "trajectory_digest": trajectory.digest,
        "aadsl_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **notes,
    }


def calibration_dataset(behaviors: Sequence[str], found: Sequence[Calibration]) -> xr.Dataset:
    """Return calibrations over ``behavior``."""
    columns = {
        "slope": [one.slope for one in found],
        "correlation": [one.correlation for one in found],
        "relative_error": [one.relative_error for one in found],
        "low": [one.interval[0] for one in found],
        "high": [one.interval[1] for one in found],
    }
    variables = {name: (("behavior",), column) for name, column in columns.items()}
    return xr.Dataset(variables, {"behavior": list(behaviors)}, {"steps": list(found[0].steps)})


def judged(
    method: Estimator, effects: Effects, calibrations: Sequence[Calibration | None], doubt: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return how far each effect can be trusted, (S, K), and why; ``doubt`` is why the trajectory is in doubt."""
    levels, reasons = np.empty(effects.effect.shape, dtype=object), np.empty(effects.effect.shape, dtype=object)
    plug_in = isinstance(method, Linearized) and method.read == "plug_in"
    for s, k in np.ndindex(*effects.effect.shape):
        growth = None if effects.growth is None or np.isnan(effects.growth[k]) else float(effects.growth[k])
        disagreement = None if effects.disagreement is None else float(effects.disagreement[s, k])
        evidence = Evidence(method.exact, growth, disagreement, plug_in, calibrations[k], doubt)
        levels[s, k], reasons[s, k] = verdict(evidence)
    return levels.astype(str), reasons.astype(str)


def _padded(query: Query, effects: dict[int, Floats]) -> Floats:
    """Return (stages, behaviors, examples), NaN where a behavior has fewer examples than another."""
    longest = max(values.shape[1] for values in effects.values())
    padded = np.full((len(query.members), len(query.behaviors), longest), np.nan)
    for k, values in effects.items():
        padded[:, k, : values.shape[1]] = values
    return padded
