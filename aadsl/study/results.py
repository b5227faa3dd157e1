"""Answers as labelled Datasets that say which question they answer and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from aadsl.core.version import __version__
from aadsl.estimators import Query
from aadsl.estimators.base import Floats
from aadsl.interventions import first_change
from aadsl.study.calibration import Calibration
from aadsl.study.held_fixed import held_fixed
from aadsl.study.outcome import UNCOMPARED, Outcome
from aadsl.study.plan import Plan
from aadsl.study.reconstructed import missed
from aadsl.study.trust import Evidence, verdict
from aadsl.trajectory import Trajectory

Attributes = Mapping[str, Any]


def dataset_of(
    steps: xr.Dataset,
    stages: Mapping[str, NDArray[np.bool_]],
    query: Query,
    answer: Outcome,
    observed: Floats,
    attributes: Attributes,
) -> xr.Dataset:
    """Return the answer over (stage, behavior, step[, example]), every axis labelled with names.

    Behaviors with fewer examples than others are padded with NaN along ``example``.

    Args:
        steps: what was recorded of every step.
        stages: the query's stages by name, (T,) true at the steps of each, those after the model among them.
        query: what was asked.
        answer: what was answered.
        observed: (K,) each behavior of the observed final model.
        attributes: those of the Dataset, as :func:`provenance` gives them.
    """
    behaviors, effects, cells = list(query.behaviors), answer.effects, ("stage", "behavior")
    fixed = [held_fixed(steps, first_change(member), query.intervention) for member in stages.values()]
    length = query.members.shape[1]
    approximate = [missed(steps, first_change(member), length) for member in stages.values()]
    levels, reasons = judged(answer, fixed, approximate)
    exact = np.broadcast_to(answer.exact[:, None], effects.effect.shape)
    low, high = (
        np.where(exact, effects.effect + side * answer.noise, bound)
        for side, bound in ((-1, answer.bounds.low), (1, answer.bounds.high))
    )
    variables: dict[str, Any] = {
        "effect": (cells, effects.effect, {"long_name": "behavior(observed) - behavior(counterfactual)"}),
        "exact": (cells, exact, {"long_name": "trained again: the exact effect"}),
        "effect_low": (cells, low, {"long_name": "lower end of the 90% interval of an estimate"}),
        "effect_high": (cells, high, {"long_name": "upper end of the 90% interval of an estimate"}),
        "noise": (cells, answer.noise, {"long_name": "effect of a run without any change"}),
        "observed": ("behavior", observed, {"long_name": "behavior of the observed final model"}),
        "unit": ("behavior", [b.unit for b in behaviors]),
        "higher_is_better": ("behavior", [b.higher_is_better for b in behaviors]),
        "least": ("behavior", [b.limits[0] for b in behaviors], {"long_name": "the least that the behavior can be"}),
        "most": ("behavior", [b.limits[1] for b in behaviors], {"long_name": "the most that the behavior can be"}),
        "member": (("stage", "step"), np.stack([*stages.values()]), {"long_name": "the step belongs to the stage"}),
        "trust": (cells, levels, {"long_name": "how far the effect can be trusted"}),
        "trust_reason": (cells, reasons, {"long_name": "why"}),
    }
    coordinates: dict[Any, Any] = {"stage": list(stages), "behavior": [b.name for b in behaviors]}
    if effects.step_effect is not None:
        described = {"long_name": "effect of the step alone"}
        variables["step_effect"] = (("step", "behavior"), over_all(steps, effects.step_effect), described)
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


def steps_array(
    steps: xr.Dataset,
    query: Query,
    answer: Outcome,
    trust: Sequence[tuple[str, str]],
    bounds: tuple[Floats, Floats],
    attributes: Attributes,
) -> xr.DataArray:
    """Return effects of single steps over (step, behavior).

    ``trust`` has a level and a reason for each behavior; ``bounds`` the ends (T, K) of 90% intervals, which are told
    where there are any.
    """
    levels, reasons = zip(*trust, strict=True)
    coordinates: dict[Any, Any] = {
        **steps.coords,
        "behavior": [behavior.name for behavior in query.behaviors],
        "trust": ("behavior", list(levels)),
        "trust_reason": ("behavior", list(reasons)),
    }
    effects = answer.effects.step_effect
    assert effects is not None  # an estimator of steps is additive
    if np.isfinite(bounds[0]).any():
        ends = zip(("low", "high"), bounds, strict=True)
        coordinates |= {name: (("step", "behavior"), over_all(steps, values)) for name, values in ends}
    return xr.DataArray(over_all(steps, effects), coordinates, ("step", "behavior"), "step_effect", dict(attributes))


def over_all(steps: xr.Dataset, values: Floats, after: float = 0.0) -> Floats:
    """Return (T, K) numbers of all steps of the run: 0, or ``after``, of those after the model that is asked about."""
    whole = np.full((steps.sizes["step"], *values.shape[1:]), after)
    whole[: len(values)] = values
    return whole


def with_steps(dataset: xr.Dataset, effects: xr.DataArray) -> xr.Dataset:
    """Return an answer, or what is known of the steps, with effects of single steps and the trust in them."""
    trust: dict[str, Any] = {f"step_{n}": ("behavior", effects[n].values) for n in ("trust", "trust_reason")}
    known = [name for name in ("low", "high") if name in effects.coords]
    ends: dict[str, Any] = {f"step_effect_{name}": (("step", "behavior"), effects[name].values) for name in known}
    bare = effects.drop_vars(["trust", "trust_reason", *known]).drop_attrs(deep=False)
    bare.attrs["estimator"] = effects.attrs.get("estimator", "")
    return dataset.assign(step_effect=bare, **trust, **ends).assign_attrs(effects.attrs | dataset.attrs)


def provenance(title: str, plan: Plan, trajectory: Trajectory, answer: Outcome) -> dict[str, Any]:
    """Return the attributes of an answer: which question it answers, how, of which run, and what is to be noted."""
    return {
        "title": title,
        "question": plan.question,
        "estimator": plan.estimator,
        "intervention": plan.intervention,
        **({"final": plan.of_model} if plan.of_model else {}),
        "answered_by": answer.by,
        "plan": str(plan),
        "exact": int(answer.exact.all()),
        **origin(trajectory),
        **({"given_weights": plan.note} if plan.note else {}),
        **answer.notes,
    }


def origin(trajectory: Trajectory) -> dict[str, str]:
    """Return the attributes that tell which run an answer is about, and when and by what it was given."""
    return {
        "trajectory": str(trajectory.path),
        "runs": " then ".join(PurePath(job.path).name for job in trajectory.jobs),
        "trajectory_digest": trajectory.digest,
        "aadsl_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
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


def judged(answer: Outcome, fixed: Sequence[str], approximate: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return how far each effect can be trusted, (S, K), and why.

    ``fixed``: of each stage, what a rerun may change; ``approximate``: which gaps that it goes over were missed.
    """
    shape = answer.effects.effect.shape
    levels, reasons = np.empty(shape, dtype=object), np.empty(shape, dtype=object)
    for s, k in np.ndindex(*shape):
        levels[s, k], reasons[s, k] = verdict(
            Evidence(
                float(answer.effects.effect[s, k]),
                bool(answer.exact[s]),
                float(answer.noise[s, k]),
                float(answer.bounds.low[s, k]),
                float(answer.bounds.high[s, k]),
                int(answer.bounds.pairs[s, k]),
                answer.notes.get("unverified_cause", ""),
                answer.notes.get(UNCOMPARED, ""),
                answer.present is None or bool(answer.present[s]),
                answer.repeats,
                fixed[s],
                approximate[s],
            )
        )
    return levels.astype(str), reasons.astype(str)


def _padded(query: Query, effects: dict[int, Floats]) -> Floats:
    """Return (stages, behaviors, examples), NaN where a behavior has fewer examples than another."""
    longest = max(values.shape[1] for values in effects.values())
    padded = np.full((len(query.members), len(query.behaviors), longest), np.nan)
    for k, values in effects.items():
        padded[:, k, : values.shape[1]] = values
    return padded
