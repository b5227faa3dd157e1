"""What a file says that it holds, compared with its own size before any of it is read.

A few bytes can claim a variable of 10⁹ numbers: what was never written takes no room, and reads as if it were there.
"""

from __future__ import annotations

from math import prod
from typing import Any

# No stream of deflate becomes more than this many times as long.
_DEFLATED = 1032
# Pointer and length of a text, as it lies in a file.
_TEXT = 16


def require_room(dataset: Any, size: int) -> None:
    """Make sure that a file of ``size`` bytes has room for all variables of ``dataset`` and of the groups in it.

    Raises:
        ValueError: it has not, or they are stored in ways in which no recorder stores any.
    """
    plain = deflated = 0
    groups = [dataset]
    while groups:
        group = groups.pop()
        groups += group.groups.values()
        for name, variable in group.variables.items():
            filters = variable.filters() or {}
            if strange := [kind for kind in ("szip", "zstd", "bzip2", "blosc") if filters.get(kind)]:
                raise ValueError(f"{name} is compressed with {strange[0]}, which is never done")
            if filters.get("zlib"):
                deflated += _claimed(variable)
            else:
                plain += _claimed(variable)
            if plain + deflated / _DEFLATED > size:
                raise ValueError(f"it is too small to hold {name}, which should have {variable.size:,} values")


def _claimed(variable: Any) -> int:
    """Return the bytes that reading a variable takes: all of it, or a single chunk, which is read as a whole."""
    width: int = _TEXT if variable.dtype is str else variable.dtype.itemsize
    chunks = variable.chunking()
    values: int = max(prod(variable.shape), prod(chunks) if isinstance(chunks, list) else 0)
    return width * values
