"""How many states a sweep holds at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from aadsl.core.errors import AadslError
from aadsl.core.memory import free_memory
from aadsl.propagation import FlatState

LONGEST, HELD_BYTES = 64, 1 << 28  # steps between two kept states, and their memory, held without a second thought


def states_held(first: FlatState, bounds: Sequence[int], memory: int | None) -> int:
    """Return how many states are held: those of a gap where they are few or small, else about √gap.

    √gap + 1 of them cost the least memory for replaying the gap once more.

    Args:
        first: a state of the run.
        bounds: the steps of the stored states, and the last one.
        memory: bytes of the host's, where states of a GPU wait, too; by default they take at most half of what is free.

    Raises:
        AadslError: that is too little.
    """
    # An observed step holds a state and a gradient; a gap of g steps rests at g / limit states besides.
    of_step = first.nbytes + first.parameters.nbytes
    at_once = max(LONGEST, HELD_BYTES // of_step)
    gaps = [b - a for a, b in pairwise(bounds)]
    wanted = max(2, *(math.isqrt(gap) + 1 if gap > at_once else gap for gap in gaps))
    if memory is None:
        return int(min(wanted, max(2, free_memory() / 2 // (2 * of_step))))
    affordable = memory // (2 * of_step)
    if affordable < 2:
        raise AadslError(
            f"memory={memory:,} bytes is too little: a sweep holds at least 4 states of {of_step:,} bytes",
            hint="allow more, or restrict the estimator to some parameters",
        )
    return min(wanted, affordable)
