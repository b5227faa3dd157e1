"""What a run begins with where a parameter has another shape than in the run before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from aadsl.core.arguments import shown
from aadsl.core.errors import AadslError
from aadsl.propagation import FlatState, Layout
from aadsl.replayed.by_run import of_each_run
from aadsl.trajectory import Fresh, Resized, Trajectory

NOTHING = "so that no effect of what the runs before made of it goes on in it"


@dataclass(frozen=True)
class Resizing:
    """Parameters that begin with what those before them, of another shape, had left in the part that both have.

    Attributes:
        layout: of the parameters.
        resized: which ones.
    """

    layout: Layout
    resized: Sequence[Resized]

    def __call__(self, state: FlatState) -> FlatState:
        """Return the state in which they have these values."""
        return state._replace(parameters=self._carried(state.parameters))

    def along(self, e: FlatState) -> FlatState:
        """Return the derivative times a tangent: the same map."""
        return e._replace(parameters=self._carried(e.parameters))

    def pulled(self, u: FlatState) -> FlatState:
        """Return the transpose times a cotangent: what the later one has in the common part is that of the earlier."""
        parameters = u.parameters.clone()
        views = self.layout.named_views(parameters)
        for one in self.resized:
            before, after = views[one.before], views[one.name]
            before[one.common] += after[one.common]
            after[one.common] = 0.0
        return u._replace(parameters=parameters)

    def _carried(self, vector: Tensor) -> Tensor:
        parameters = vector.clone()
        views = self.layout.named_views(parameters)
        for one in self.resized:
            views[one.name][one.common] = views[one.before][one.common]
        return parameters


def joinings(trajectory: Trajectory, layout: Layout) -> dict[int, Resizing]:
    """Return what the runs begin with whose parameters have other shapes, by their first steps."""
    found: dict[int, list[Resized]] = {}
    for one in trajectory.chain.resized:
        found.setdefault(one.step, []).append(one)
    return {step: Resizing(layout, own) for step, own in found.items()}


def joined(trajectory: Trajectory, joins: Mapping[Any, Any] | None) -> Trajectory:
    """Return a trajectory whose runs begin as ``joins`` says, by their names or paths.

    Raises:
        AadslError: a key names no run, or a value says nothing of how one begins.
    """
    if not joins:
        return trajectory
    for run, given in joins.items():
        if not isinstance(given, Fresh):
            hint = f'such as joins={{{run!r}: aadsl.fresh("head.*")}}'
            raise AadslError(f"joins={{{run!r}: …}} is {shown(given)}, which says not how a run begins", hint=hint)
    found = of_each_run("joins", joins, trajectory.jobs)
    return Trajectory(trajectory.chain.runs, [() if one is None else one.patterns for one in found])


def note_on_fresh(trajectory: Trajectory) -> str:
    """Return what is to be said of parameters that take the place of others, and have nothing of them; or ""."""
    found: dict[int, list[str]] = {}
    for step, name in trajectory.chain.fresh:
        found.setdefault(step, []).append(f'"{name}"')
    return "; ".join(f"{', '.join(names)}: begun anew at step {step}, {NOTHING}" for step, names in found.items())
