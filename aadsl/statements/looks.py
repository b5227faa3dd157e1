"""What a single example looks like: a small picture, or its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def look_of(example: Any) -> dict[str, str]:
    """Return the ``picture`` of a batch of one as a data URI, or its ``text``; nothing where it is neither."""
    import numpy as np
    from torch import Tensor

    from aadsl.charts.thumbnails import thumbnails

    several = isinstance(example, tuple | list)
    for part in example.values() if isinstance(example, Mapping) else example if several else [example]:
        if isinstance(part, Tensor) and not part.is_complex():
            part = part.detach().cpu().float().numpy()
        kind = "picture" if isinstance(part, np.ndarray) else "text"
        shown = thumbnails(part if kind == "picture" else _texts(part))
        if shown:
            return {kind: shown[0]}
    return {}


def _texts(part: Any) -> list[str] | None:
    if isinstance(part, str):
        return [part]
    return list(part) if isinstance(part, tuple | list) and part and isinstance(part[0], str) else None
