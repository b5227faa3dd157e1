"""Which model answers are about: the one that was shipped, where that is not the one that the run ended with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from aadsl.core.arguments import shown
from aadsl.core.errors import AadslError
from aadsl.replayed.given import step_of, weights_of
from aadsl.replayed.history import History

GIVEN = "given"


def end_of(history: History, final: Any, model: nn.Module) -> int:
    """Return after how many steps the model was made that ``final`` means.

    Args:
        history: the run, to its last step.
        final: a number of steps; the weights themselves, as a state dict or in a model; ``"given"`` for those of
            ``model``.
        model: the model that was given.

    Raises:
        AadslError: it means nothing, or no model of this run.
    """
    length = history.trajectory.length
    if isinstance(final, (int, np.integer)) and not isinstance(final, bool):
        if not 1 <= final <= length:
            raise AadslError(
                f"final={final} is no step of this run, which has {length:,}",
                hint="final is the number of steps after which the model was kept, from 1 on",
            )
        return int(final)
    weights = model if isinstance(final, str) and final == GIVEN else final
    if not isinstance(weights, (nn.Module, Mapping)):
        raise AadslError(
            f"final must be a number of steps, a state dict, or {GIVEN!r}, not {shown(final)}",
            hint='final=1200 is the model after 1,200 steps, final="given" the one whose weights the model has',
        )
    step = step_of(history, weights_of(weights, history.trajectory))
    if not step:
        raise AadslError(
            "final: these are the weights that the run began with, in which no step has a part",
            hint="give the model as it was shipped, or say after which step: final=STEP",
        )
    return step
