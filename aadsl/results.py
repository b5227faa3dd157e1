"""Answers as labelled Datasets that say which question they answer and how."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import aadsl
from aadsl.estimators import Answer, Estimator, Question
from aadsl.estimators.base import final_readouts
from aadsl.plan import plan_for

if TYPE_CHECKING:
    from aadsl.study import Study


def dataset_of(
    study: Study,
    stages: Sequence[str],
    question: Question,
    method: Estimator,
    answer: Answer,
) -> xr.Dataset:
    """Return the answer over (stage, behavior, step[, example]), every axis labelled with names.

    Behaviors with fewer examples than others are padded with NaN along ``example``.
    """
    plan = plan_for(study.history, question, method)
    state, readouts = final_readouts(study.history, question.behaviors)
    observed = [float(readout.values(state).mean()) for readout in readouts]
    behaviors = list(question.behaviors)
    result = xr.Dataset(
        {
            "effect": (
                ("stage", "behavior"),
                answer.effect,
                {"long_name": "behavior(observed) - behavior(counterfactual)"},
            ),
            "observed": (("behavior",), observed, {"long_name": "behavior of the observed final model"}),
            "unit": (("behavior",), [b.unit for b in behaviors]),
            "higher_is_better": (("behavior",), [b.higher_is_better for b in behaviors]),
            "member": (("stage", "step"), question.members, {"long_name": "the step belongs to the stage"}),
        },
        {"stage": list(stages), "behavior": [b.name for b in behaviors], **study.steps.coords},
    )
    result = result.assign_coords(dict(study.steps.data_vars))
    if answer.step_effect is not None:
        result["step_effect"] = (("step", "behavior"), answer.step_effect, {"long_name": "effect of the step alone"})
    if answer.example_effects:
        result = result.merge(_examples(question, answer.example_effects))
    for name, note in answer.notes.items():
        result[name] = (("stage", "behavior"), note)
    return result.assign_attrs(
        title="effects of training stages on behaviors of the final model",
        question=plan.question,
        estimator=plan.estimator,
        intervention=plan.intervention,
        plan=str(plan),
        exact=int(method.exact),
        trajectory=str(study.trajectory.path),
        trajectory_digest=study.trajectory.digest,
        aadsl_version=aadsl.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _examples(question: Question, effects: dict[int, NDArray[np.float64]]) -> xr.Dataset:
    longest = max(values.shape[1] for values in effects.values())
    padded = np.full((len(question.members), len(question.behaviors), longest), np.nan)
    for k, values in effects.items():
        padded[:, k, : values.shape[1]] = values
    return xr.Dataset(
        {"example_effect": (("stage", "behavior", "example"), padded, {"long_name": "effect on each example"})},
        {"example": np.arange(longest)},
    )
