"""Answers as labelled Datasets that say which question they answer and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import aadsl
from aadsl.estimators import Answer, Estimator, Question
from aadsl.estimators.base import final_readouts
from aadsl.plan import plan_for
from aadsl.trust import Check, Evidence, verdict

if TYPE_CHECKING:
    from aadsl.study import Study


def dataset_of(
    study: Study,
    stages: Sequence[str],
    question: Question,
    method: Estimator,
    answer: Answer,
    checks: Sequence[Check | None],
    doubts: Mapping[str, str],
) -> xr.Dataset:
    """Return the answer over (stage, behavior, step[, example]), every axis labelled with names.

    ``doubts`` are attributes that say why the trajectory fails verification, empty where it does not.
    Behaviors with fewer examples than others are padded with NaN along ``example``.
    """
    state, readouts = final_readouts(study.history, question.behaviors)
    observed = [float(readout.values(state).mean()) for readout in readouts]
    behaviors = list(question.behaviors)
    levels, reasons = _trust(method, answer, checks, doubts.get("unverified_cause", ""))
    variables: dict[str, Any] = {
        "effect": (
            ("stage", "behavior"),
            answer.effect,
            {"long_name": "behavior(observed) - behavior(counterfactual)"},
        ),
        "observed": ("behavior", observed, {"long_name": "behavior of the observed final model"}),
        "unit": ("behavior", [b.unit for b in behaviors]),
        "higher_is_better": ("behavior", [b.higher_is_better for b in behaviors]),
        "member": (("stage", "step"), question.members, {"long_name": "the step belongs to the stage"}),
        "trust": (("stage", "behavior"), levels, {"long_name": "how far the effect can be trusted"}),
        "trust_reason": (("stage", "behavior"), reasons, {"long_name": "why"}),
    }
    coordinates: dict[Any, Any] = {"stage": list(stages), "behavior": [b.name for b in behaviors]}
    if answer.step_effect is not None:
        variables["step_effect"] = (("step", "behavior"), answer.step_effect, {"long_name": "effect of the step alone"})
    if answer.example_effects:
        padded = _padded(question, answer.example_effects)
        variables["example_effect"] = (
            ("stage", "behavior", "example"),
            padded,
            {"long_name": "effect on each example"},
        )
        coordinates["example"] = np.arange(padded.shape[-1])
    # All at once: for every variable that comes later, xarray compares the indexes of a long run anew.
    coordinates |= dict(study.steps.variables)
    title = "effects of training stages on behaviors of the final model"
    return xr.Dataset(variables, coordinates, provenance(study, title, question, method, doubts))


def provenance(
    study: Study, title: str, question: Question, method: Estimator, doubts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the attributes of an answer: which question it answers, how, of which run, and why that is in doubt."""
    plan = plan_for(study.history, question, method)
    return {
        "title": title,
        "question": plan.question,
        "estimator": plan.estimator,
        "intervention": plan.intervention,
        "plan": str(plan),
        "exact": int(method.exact),
        "trajectory": str(study.trajectory.path),
        "trajectory_digest": study.trajectory.digest,
        "aadsl_version": aadsl.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **doubts,
    }


def check_dataset(behaviors: Sequence[str], checks: Sequence[Check]) -> xr.Dataset:
    """Return checks against exact replays over ``behavior``."""
    columns = {
        "slope": [check.slope for check in checks],
        "correlation": [check.correlation for check in checks],
        "relative_error": [check.relative_error for check in checks],
        "low": [check.interval[0] for check in checks],
        "high": [check.interval[1] for check in checks],
    }
    variables = {name: (("behavior",), column) for name, column in columns.items()}
    return xr.Dataset(variables, {"behavior": list(behaviors)}, {"steps": list(checks[0].steps)})


def _trust(
    method: Estimator, answer: Answer, checks: Sequence[Check | None], doubt: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    levels, reasons = np.empty(answer.effect.shape, dtype=object), np.empty(answer.effect.shape, dtype=object)
    for s, k in np.ndindex(*answer.effect.shape):
        plug_in = getattr(method, "read", "") == "plug_in"
        growth = None if answer.growth is None or np.isnan(answer.growth[k]) else float(answer.growth[k])
        disagreement = None if answer.disagreement is None else float(answer.disagreement[s, k])
        evidence = Evidence(method.exact, growth, disagreement, plug_in, checks[k], doubt)
        levels[s, k], reasons[s, k] = verdict(evidence)
    return levels.astype(str), reasons.astype(str)


def _padded(question: Question, effects: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return (stages, behaviors, examples), NaN where a behavior has fewer examples than another."""
    longest = max(values.shape[1] for values in effects.values())
    padded = np.full((len(question.members), len(question.behaviors), longest), np.nan)
    for k, values in effects.items():
        padded[:, k, : values.shape[1]] = values
    return padded
