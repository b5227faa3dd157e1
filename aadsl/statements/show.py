"""``show``: what is loaded and defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import unknown_name
from aadsl.statements.base import Action, Statement
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result

RUNS_SHOWN = 6


@dataclass(frozen=True)
class Show(Statement):
    """Show what is loaded and defined.

    show
    show trajectory
    show stages
    show behaviors
    """

    topic: str | None

    def resolve(self, scope: Scope) -> Action | None:
        """Check the topic."""
        if self.topic is not None and self.topic not in TOPICS:
            problem = unknown_name("show topic", self.topic, TOPICS)
            scope.report(self.span, f'nothing to show under "{self.topic}"', problem.hint)
            return None
        return partial(self.run) if scope.needs_study(self.span) else None

    def run(self, result: Result) -> None:
        """Say what there is."""
        for topic in TOPICS if self.topic is None else [self.topic]:
            result.say(TOPICS[topic](result))


def _trajectory(result: Result) -> str:
    trajectory, steps = result.study.trajectory, result.session.coordinates(result.study)
    lines = [f"{name:<14} {', '.join(steps.column(name).distinct(5))}" for name in steps.names if name != "step"]
    return "\n".join([f"trajectory {trajectory.path}: {trajectory.length} steps", *lines])


def _stages(result: Result) -> str:
    lines = [
        f"{name:<24} {int(np.sum(mask)):>6} steps  {intervals(np.asarray(mask, dtype=bool))}"
        for name, mask in result.study.stages.items()
    ]
    return "\n".join(["stages:", *lines]) if lines else "no stages yet"


def _behaviors(result: Result) -> str:
    lines = [f"{name:<24} {behavior}" for name, behavior in result.study.behaviors.items()]
    return "\n".join(["behaviors:", *lines]) if lines else "no behaviors yet"


TOPICS: dict[str, Callable[[Result], str]] = {
    "trajectory": _trajectory,
    "stages": _stages,
    "behaviors": _behaviors,
}


def intervals(mask: NDArray[np.bool_]) -> str:
    """Return the runs of true values as slices.

    >>> intervals(np.array([True, True, False, True]))
    '[0:2] [3:4]'
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    runs = [f"[{start}:{stop}]" for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    return " ".join(runs[:RUNS_SHOWN]) + (f" … {len(runs)} stretches" if len(runs) > RUNS_SHOWN else "")
