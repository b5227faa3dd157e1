"""Answers about single training examples as labelled Datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from aadsl.data.coordinates import names_in_answers
from aadsl.estimators.base import Floats
from aadsl.study.example_effects import INTERVENTION, QUESTION, ExampleEffects, ExampleQuestion
from aadsl.study.results import origin
from aadsl.trajectory import Trajectory


def example_dataset(
    stages: Sequence[str],
    asked: ExampleQuestion,
    found: ExampleEffects,
    observed: Floats,
    plan: str,
    trajectory: Trajectory,
) -> xr.Dataset:
    """Return the answer over (stage, behavior, training_example).

    Args:
        stages: the names of the query's stages.
        asked: what was asked.
        found: what was answered.
        observed: (K,) each behavior of the observed final model.
        plan: what was computed, in words.
        trajectory: the run.
    """
    query, examples = asked.query, found.examples
    cells, each = ("stage", "behavior", "training_example"), ("stage", "training_example")
    levels, reasons = found.trust()
    ones = np.ones(len(examples.step))
    counts = np.stack([np.nan_to_num(examples.totals(ones, member)) for member in query.members]).astype(np.int64)
    without = "behavior(observed) - behavior(without the example)"
    variables: dict[str, Any] = {
        "example_estimate": (cells, found.estimate, {"long_name": f"{without}, to first order"}),
        "example_exact": (cells, found.exact, {"long_name": f"{without}, trained again"}),
        "example_noise": (cells, found.noise, {"long_name": "effect of a run without any change"}),
        "example_trust": (cells, levels, {"long_name": "how far the effect can be trusted"}),
        "example_trust_reason": (cells, reasons, {"long_name": "why"}),
        "occurrences": (each, counts, {"long_name": "how often the stage consumed the example"}),
        "observed": ("behavior", observed, {"long_name": "behavior of the observed final model"}),
        "unit": ("behavior", [behavior.unit for behavior in query.behaviors]),
        "higher_is_better": ("behavior", [behavior.higher_is_better for behavior in query.behaviors]),
        "member": (("stage", "step"), query.members, {"long_name": "the step belongs to the stage"}),
    }
    if found.influence is not None:
        described = {"long_name": "by how much the example lowered its own loss at once, by its share of its steps"}
        variables["self_influence"] = (each, found.influence, described)
    names = {**names_in_answers(examples.known), "index": "index", "run": "run"}
    coordinates: dict[Any, Any] = {
        "stage": list(stages),
        "behavior": [behavior.name for behavior in query.behaviors],
        "step": np.arange(query.members.shape[1]),
        "training_example": examples.label,
        "first_step": ("training_example", examples.step[examples.first]),
        "first_row": ("training_example", examples.row[examples.first]),
        **{names[name]: ("training_example", values) for name, values in examples.known.items()},
    }
    attributes = {
        "title": "effects of single training examples on behaviors of the final model",
        "question": QUESTION,
        "estimator": "first_order()",
        "intervention": INTERVENTION,
        "answered_by": found.by,
        "plan": plan,
        **origin(trajectory),
        **found.notes,
    }
    return xr.Dataset(variables, coordinates, attributes)
