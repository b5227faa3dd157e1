"""``show``: what is loaded and defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aadsl.core.aligned import listing
from aadsl.core.errors import unknown_name
from aadsl.data.coordinates import useful
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
    rows = [(name, steps.column(name).summary()) for name in useful(steps.names) if name != "step"]
    return listing(f"trajectory {trajectory.path}: {trajectory.length:,} steps", rows)


def _stages(result: Result) -> str:
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in result.study.stages.items()}
    counts = [f"{int(mask.sum()):,}" for mask in masks.values()]
    widest = max(map(len, counts), default=0)
    rows = [
        (name, f"{n:>{widest}} steps", intervals(mask)) for (name, mask), n in zip(masks.items(), counts, strict=True)
    ]
    return listing("stages:", rows) if rows else "no stages yet"


def _behaviors(result: Result) -> str:
    from aadsl.behaviors import metric_text

    rows = [
        (name, metric_text(behavior.metric), f"{len(behavior.examples):,} examples", _examples_of(result, name))
        for name, behavior in result.study.behaviors.items()
    ]
    return listing("behaviors:", rows) if rows else "no behaviors yet"


def _examples_of(result: Result, name: str) -> str:
    """Return what a cell said of the examples of a behavior, ``on test where label == 4``; nothing of other ones."""
    behavior, said = result.session.examples.get(name, (None, ""))
    return said if behavior is result.study.behaviors[name] else ""


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
