"""Where a recording goes on when its Trainer does: after a checkpoint, or after an attempt that was broken off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aadsl.core.errors import AadslError
from aadsl.core.files import expanded
from aadsl.trajectory import Recorder, open_trajectory

GLOBAL_STEP = "global_step"
"""Metadata of each step: its number in the Trainer, which counts also the steps that mixed precision skipped."""


def as_trained(model: nn.Module, called: Any) -> nn.Module:
    """Return a Trainer's model as it is called: where several processes train it, in DistributedDataParallel."""
    return called if isinstance(called, DistributedDataParallel) else model


def recorder_of(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizers: Sequence[Any],
    options: dict[str, Any],
    global_step: int,
    broken_off: Recorder | None,
) -> Recorder:
    """Return the recorder of a Trainer that begins, or goes on, with its step ``global_step``.

    Args:
        path: folder to record into.
        model: what it trains.
        optimizers: what trains it. The Trainer counts the steps of each.
        options: of the recorder.
        global_step: number of the Trainer's next step.
        broken_off: that of an attempt which this one takes up with the weights as they are; None where there was none.

    Raises:
        AadslError: the recording has not the steps up to this one, or whatever the recorder refuses.
    """
    if broken_off is not None:
        broken_off.close()
    if not options.get("overwrite") and options.get("step") is None:
        if global_step:
            options = {**options, "step": _recorded_before(expanded(path), global_step, len(optimizers))}
        elif broken_off is not None and broken_off.step:
            options = {**options, "step": broken_off.step}
    return Recorder(path, model, optimizers, **options)


def _recorded_before(path: Path, global_step: int, each: int) -> int | None:
    """Return how many steps were recorded before the Trainer's ``global_step``, None where nothing was recorded.

    ``each`` is how many steps the Trainer counts after one batch, at most.
    """
    if not (path / "run.nc").exists():
        return None
    trajectory = open_trajectory(path)
    if not trajectory.length:
        return None
    known = GLOBAL_STEP in trajectory.steps
    numbers = trajectory.steps[GLOBAL_STEP].values if known else range(trajectory.length)
    if numbers[-1] + each < global_step:
        raise AadslError(
            f"the Trainer goes on with step {global_step}, and {path} holds its steps up to {int(numbers[-1])} only",
            hint="record into a new folder; open_trajectory([first, second]) joins runs that follow on each other",
        )
    return sum(not number >= global_step for number in numbers)  # NaN where an earlier recording did not know it
