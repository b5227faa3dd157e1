"""What of the recorded coordinates of the steps is of use to a reader, and what answers call them."""

from __future__ import annotations

from collections.abc import Iterable

import xarray as xr

# What a replay needs to know, and switches of optimizers. Conditions may still use them.
INTERNAL = {
    "micro_batch_count", "modules_off_mode", "phase_boundary", "training",
    "average_count", "average_weight",
    "amsgrad", "centered", "dampening", "decoupled_weight_decay", "maximize", "nesterov",
}  # fmt: skip

ANSWERED = {
    "stage", "behavior", "example", "effect", "exact", "effect_low", "effect_high", "noise", "observed", "unit",
    "higher_is_better", "least", "most", "member", "trust", "trust_reason", "step_effect", "step_effect_low",
    "step_effect_high", "step_trust", "step_trust_reason",
    "example_effect", "retrained_effect", "rank", "ranked", "ranked_effect", "ranked_exact", "ranked_trust",
    "share", "share_low", "share_high", "together", "without", "thumbnail",
    "slope", "correlation", "relative_error",
    "training_example", "first_step", "first_row", "index", "run", "occurrences", "self_influence",
    "example_estimate", "example_exact", "example_noise", "example_trust", "example_trust_reason",
}  # fmt: skip
"""What answers, which are labelled by the coordinates of the steps, call their own."""


def beside_answers(steps: xr.Dataset) -> xr.Dataset:
    """Return the steps with each coordinate called as answers call it."""
    renamed = {name: new for name, new in names_in_answers(map(str, steps.variables)).items() if name != new}
    return steps.rename(renamed) if renamed else steps


def names_in_answers(coordinates: Iterable[str]) -> dict[str, str]:
    """Return what answers call each coordinate of the steps: ``noise_given`` where they have a ``noise``."""
    given = set(coordinates)
    found = {}
    for name in given:
        free = name
        while free in ANSWERED or (free != name and free in given):
            free += "_given"
        found[name] = free
    return found


def useful(names: Iterable[str]) -> list[str]:
    """Return the names that tell a reader something."""
    return [name for name in names if name not in INTERNAL]
