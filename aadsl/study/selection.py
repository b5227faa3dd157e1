"""Which steps a stage holds, and which examples a behavior is read on, from the forms that Python code gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.data.choices import chosen
from aadsl.data.examples import Examples


def step_mask(name: str, selection: Any, steps: xr.Dataset) -> NDArray[np.bool_]:
    """Return a mask (T,) of the steps of the stage ``name``.

    Args:
        name: the stage, for messages.
        selection: a mask over the steps, step numbers, or a slice of them, as :func:`aadsl.data.choices.chosen` takes.
        steps: what was recorded of every step.

    Raises:
        AadslError: the selection does not fit the run, or holds no step.
    """
    mask = np.zeros(steps.sizes["step"], dtype=bool)
    mask[chosen(f'stage "{name}"', selection, steps, "step")] = True
    if not mask.any():
        raise AadslError(
            f'stage "{name}" holds no step',
            hint=f"the run has the steps 0 to {len(mask) - 1}; look at study.steps for their metadata",
        )
    return mask


def those_of(name: str, examples: Examples, where: Any) -> Examples:
    """Return the examples that a mask or positions choose for the behavior ``name``.

    Raises:
        AadslError: ``where`` does not fit the examples, leaves none of them, or names one twice.
    """
    picked = chosen(f'behavior "{name}"', where, examples.coordinates, "example")
    if picked.dtype != bool and len(np.unique(picked)) < len(picked):
        numbers, counts = np.unique(picked, return_counts=True)
        raise AadslError(
            f'behavior "{name}": example {numbers[counts > 1][0]} is named more than once',
            hint="an example counts once; name each once, or give a mask",
        )
    return examples.select(picked)
