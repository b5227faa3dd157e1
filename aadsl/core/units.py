"""Sizes and durations as people write and read them."""

from __future__ import annotations

import re

from aadsl.core.errors import AadslError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{prefix}i": 2 ** (10 * power) for power, prefix in enumerate("kmgt", 1)}


def bytes_of(size: float | str) -> int:
    """Return a size in bytes: a number, ``"500MB"``, ``"2GiB"``.

    >>> bytes_of("2KiB")
    2048

    Raises:
        AadslError: it is no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?i?)b?\s*", str(size).lower())
    if match is None or match[2] not in _UNITS:
        raise AadslError(f"{size!r} is not a size", hint='write bytes, or "500MB", "2GiB"')
    return int(float(match[1]) * _UNITS[match[2]])


def sized(nbytes: int) -> str:
    """Return a size as one reads it.

    >>> sized(2_500_000)
    '2.5 MB'
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if nbytes >= size:
            return f"{nbytes / size:.1f} {unit}"
    return f"{nbytes / 1e3:.0f} kB"


_DURATIONS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(duration: float | str) -> float:
    """Return a duration in seconds: a number, ``"30 s"``, ``"2 min"``, ``"1.5 h"``.

    >>> seconds_of("2 min")
    120.0

    Raises:
        AadslError: it is no duration.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", str(duration).lower())
    if match is None or (match[2] or "s") not in _DURATIONS:
        raise AadslError(f"{duration!r} is not a duration", hint='write seconds, or "30 s", "2 min", "1.5 h"')
    return float(match[1]) * _DURATIONS[match[2] or "s"]


def in_words(seconds: float) -> str:
    """Return a duration as one reads it.

    >>> in_words(0.02), in_words(90), in_words(7300)
    ('20 ms', '1.5 min', '2.0 h')
    """
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.01 else f"{1e3 * seconds:.1f} ms"
