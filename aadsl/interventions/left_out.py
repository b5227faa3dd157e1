"""The stage without some of its examples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import ClassVar

from aadsl.propagation import Step


@dataclass(frozen=True)
class LeftOut:
    """The steps of the stage happen, but the loss of some examples has no weight in them.

    The loss of a step is the mean over all examples of its batch as before, with those left out counted as zero: the
    others keep their weight, so that the batch of one that is left empty is a step with ``zero_gradient``.

    It is made for questions about single examples, which say where these are, and is not called by name.

    Attributes:
        places: (step, row): which example of a step's batch, micro-batches joined.
    """

    places: tuple[tuple[int, int], ...]

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had an example been left out of the batches of the stage"

    def vary(self, step: Step) -> Step:
        """Return the step without the examples; the very step where it has none of them."""
        rows = self._rows.get(step.index)
        if not rows:
            return step
        starts = accumulate(step.sizes, initial=0)
        left_out = tuple(
            tuple(row - start for row in rows if start <= row < start + size)
            for start, size in zip(starts, step.sizes, strict=False)
        )
        return replace(step, left_out=left_out)

    @cached_property
    def _rows(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for step, row in self.places:
            found.setdefault(step, []).append(row)
        return found
