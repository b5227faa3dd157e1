"""Real data that ship with the package, for tutorials, demonstrations and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

__all__ = ["mnist10k"]


def mnist10k() -> xr.Dataset:
    """Return 10,000 real MNIST digits in a fixed random order; no train/test split is implied.

    Returns:
        A Dataset over ``example`` (10,000) with ``image`` (example, row, column), float32 gray levels from 0
        (background) to 1 (ink), and ``label`` (example), int64. Source and license are in its attributes.
    """
    with xr.open_dataset(Path(__file__).with_name("mnist10k.nc")) as stored:
        digits = stored.load()
    image = (digits.image / np.float32(255)).assign_attrs(long_name="gray level, 0 background to 1 ink", units="1")
    return digits.assign(image=image, label=digits.label.astype(np.int64).assign_attrs(digits.label.attrs))
