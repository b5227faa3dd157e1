"""Small pictures and short texts of examples, for the hover of charts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from aadsl.charts.png import encode

SIDE = 64
TEXT_LIMIT = 160


def with_thumbnails(dataset: xr.Dataset, inputs: Mapping[str, Any]) -> xr.Dataset:
    """Return ``dataset`` with ``thumbnail(behavior, example)``: what each example looks like.

    Args:
        dataset: an answer with the dimensions behavior and example.
        inputs: for each behavior its examples in order: an array (n, height, width[, channels]) or
            (n, channels, height, width) of pixels, or a sequence of texts. Others are shown by their number alone.
    """
    shown = np.full((dataset.sizes["behavior"], dataset.sizes["example"]), "", dtype=object)
    for k, name in enumerate(dataset["behavior"].values):
        pictures = thumbnails(inputs.get(str(name)))
        shown[k, : len(pictures)] = pictures[: shown.shape[1]]
    return dataset.assign(thumbnail=(("behavior", "example"), shown))


def thumbnails(inputs: Any) -> list[str]:
    """Return one data URI or text for each example, nothing where ``inputs`` are neither pictures nor texts."""
    if inputs is None:
        return []
    if isinstance(inputs, Sequence) and all(isinstance(text, str) for text in inputs):
        return [text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 1]}…" for text in inputs]
    array = np.asarray(inputs)
    if array.ndim == 4 and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.ndim == 2 and array.shape[1] > 64 and round(array.shape[1] ** 0.5) ** 2 == array.shape[1]:
        side = round(array.shape[1] ** 0.5)
        array = array.reshape(len(array), side, side)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[-1] not in (1, 3)) or min(array.shape[1:3]) < 4:
        return []
    return [data_uri(picture) for picture in array]


def data_uri(picture: np.ndarray) -> str:
    """Return one picture (height, width[, 1 or 3]) of any range as a PNG in a data URI, of a size to be seen.

    What is not finite is black. Many thumbnails go into one notebook, so large pictures are made small.
    """
    pixels = np.asarray(picture, dtype=np.float64)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    finite = pixels[np.isfinite(pixels)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    scaled = (np.where(np.isfinite(pixels), pixels, low) - low) / ((high - low) or 1.0)
    pixels = (scaled * 255).astype(np.uint8)
    shrink = -(-max(pixels.shape[:2]) // SIDE)
    pixels = pixels[::shrink, ::shrink]
    times = max(1, SIDE // max(pixels.shape[:2]))
    pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    return f"data:image/png;base64,{base64.b64encode(encode(pixels)).decode()}"
