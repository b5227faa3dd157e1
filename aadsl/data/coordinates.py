"""What of the recorded coordinates of the steps is of use to a reader."""

from __future__ import annotations

from collections.abc import Iterable

# What a replay needs to know, and switches of optimizers. Conditions may still use them.
INTERNAL = {
    "micro_batch_count", "modules_off_mode", "phase_boundary", "training",
    "amsgrad", "centered", "dampening", "decoupled_weight_decay", "maximize", "nesterov",
}  # fmt: skip


def useful(names: Iterable[str]) -> list[str]:
    """Return the names that tell a reader something."""
    return [name for name in names if name not in INTERNAL]
