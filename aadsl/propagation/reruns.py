"""Counterfactual runs, trained to their end one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aadsl.core.progress import Progress, silent
from aadsl.propagation.layout import FlatState
from aadsl.propagation.replay import Variation, rerun
from aadsl.propagation.step import Run
from aadsl.propagation.step_map import StepMap


class End(NamedTuple):
    """Where a counterfactual run ended.

    Attributes:
        position: which of the runs asked for.
        state: ζ_T.
        control: the end of a run without any change, to which it is compared; None where that is ξ_T.
    """

    position: int
    state: FlatState
    control: FlatState | None


def reruns(
    run: Run,
    step_map: StepMap,
    varied: Sequence[Variation],
    firsts: Sequence[int],
    *,
    control: bool = False,
    progress: Progress = silent,
) -> Iterator[End]:
    """Yield the end of each run, whose steps are ``varied`` from ``firsts`` on; ``control``: run one, too."""
    reference = rerun(run, step_map, lambda step: step, min(firsts), progress) if control else None
    for i, (variation, first) in enumerate(zip(varied, firsts, strict=True)):
        yield End(i, rerun(run, step_map, variation, first, progress), reference)
