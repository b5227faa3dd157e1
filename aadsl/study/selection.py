"""Sets of steps, from the forms in which Python code gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError


def step_mask(name: str, selection: Any, length: int) -> NDArray[np.bool_]:
    """Return a mask (T,) of the steps of the stage ``name``.

    Args:
        name: the stage, for messages.
        selection: a boolean DataArray or array over the steps, an array of step numbers, or a slice of them.
        length: T.

    Raises:
        AadslError: the selection does not fit the run, or holds no step.
    """
    mask = np.zeros(length, dtype=bool)
    mask[selection if isinstance(selection, slice) else _chosen(name, selection, length)] = True
    if not mask.any():
        raise AadslError(
            f'stage "{name}" holds no step',
            hint=f"the run has the steps 0 to {length - 1}; look at study.steps for their metadata",
        )
    return mask


def _chosen(name: str, selection: Any, length: int) -> NDArray[Any]:
    chosen = np.asarray(selection)
    if chosen.dtype == bool:
        if chosen.shape != (length,):
            raise AadslError(f'stage "{name}": a mask of shape {chosen.shape} does not fit {length} steps')
        return chosen
    if chosen.size and chosen.dtype.kind not in "iu":
        raise AadslError(
            f'stage "{name}" cannot be read from {type(selection).__name__}',
            hint="give a boolean mask over the steps, an array of step numbers, or a slice",
        )
    if chosen.size and not (-length <= chosen.min() and chosen.max() < length):
        raise AadslError(f'stage "{name}": step {int(chosen.max())} is not one of the steps 0 to {length - 1}')
    return chosen.astype(np.int64)
