"""What of the recorded coordinates of the steps is of use to a reader, and what cannot be called as it was recorded."""

from __future__ import annotations

from collections.abc import Iterable

import xarray as xr

# What a replay needs to know, and switches of optimizers. Conditions may still use them.
INTERNAL = {
    "micro_batch_count", "modules_off_mode", "phase_boundary", "training",
    "amsgrad", "centered", "dampening", "decoupled_weight_decay", "maximize", "nesterov",
}  # fmt: skip

ANSWERED = {
    "stage", "behavior", "example", "effect", "exact", "effect_low", "effect_high", "noise", "observed", "unit",
    "higher_is_better", "member", "trust", "trust_reason", "step_effect", "step_trust", "step_trust_reason",
    "example_effect", "retrained_effect", "rank", "ranked", "ranked_effect", "ranked_exact", "ranked_trust",
    "share", "share_low", "share_high", "together", "without", "thumbnail",
    "slope", "correlation", "relative_error",
}  # fmt: skip
"""What answers, which are labelled by the coordinates of the steps, call their own."""


def beside_answers(steps: xr.Dataset) -> xr.Dataset:
    """Return the steps with each coordinate that is called as a part of answers renamed: ``noise_given``."""
    taken = {name: f"{name}_given" for name in steps.data_vars if name in ANSWERED}
    return steps.rename(taken) if taken else steps


def useful(names: Iterable[str]) -> list[str]:
    """Return the names that tell a reader something."""
    return [name for name in names if name not in INTERNAL]
