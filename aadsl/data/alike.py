"""Whether two batches hold the same, and what differs where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def differing(one: Any, other: Any) -> str:
    """Return what of ``one`` is not that of ``other``, in words; "" where they hold the same. Lists are as tuples.

    >>> differing((torch.ones(2), 3), [torch.ones(2), 3]), differing(torch.ones(3), torch.tensor([1.0, 2.0, 1.0]))
    ('', '1 of 3 numbers')
    """
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return "" if one.dtype == other.dtype and np.array_equal(one, other) else "an array"
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return _of_tensors(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"the keys {', '.join(map(str, one))} instead of {', '.join(map(str, other))}"
        return next((found for name in one if (found := differing(one[name], other[name]))), "")
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        if len(one) != len(other):
            return f"{len(one)} parts instead of {len(other)}"
        return next((found for pair in zip(one, other, strict=True) if (found := differing(*pair))), "")
    if type(one) is not type(other):
        return f"a {type(one).__name__} instead of a {type(other).__name__}"
    return "" if bool(one == other) else "a value"


def _of_tensors(one: Tensor, other: Tensor) -> str:
    if one.shape != other.shape:
        return f"the shape {tuple(one.shape)} instead of {tuple(other.shape)}"
    if one.dtype != other.dtype:
        return f"{one.dtype} instead of {other.dtype}"
    one, other = one.cpu(), other.cpu()
    return "" if torch.equal(one, other) else f"{int((one != other).sum())} of {one.numel()} numbers"
