"""What a run begins with where that is not what the run before left: parameters of another shape, merged adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.func import jvp, vjp

from aadsl.propagation import FlatState, Layout
from aadsl.replayed.merging import merged_weight, rounding_of
from aadsl.trajectory import Merged, Resized, Trajectory


@dataclass(frozen=True)
class Joined:
    """The first values of some parameters, as a function of what other parameters had in the end of the run before.

    Its derivative is that of the function, at that end.

    Attributes:
        layout: of the parameters.
        resized: what begins with what those before it, of another shape, had left in the part that both have.
        merged: what begins with adapters merged into it.
        rounding: by how much that was rounded otherwise in the run than here, by name; nothing where it was not.
    """

    layout: Layout
    resized: Sequence[Resized] = ()
    merged: Sequence[Merged] = ()
    rounding: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, state: FlatState) -> FlatState:
        """Return the state in which they have these values."""
        return self._with(state, self._begun(self._read(state)))

    def along(self, state: FlatState, e: FlatState) -> FlatState:
        """Return the derivative at ``state`` times a tangent."""
        return self._with(e, jvp(self._begun, (self._read(state),), (self._read(e),))[1])

    def pulled(self, state: FlatState, u: FlatState) -> FlatState:
        """Return a cotangent times the derivative at ``state``."""
        begun, back, *_ = vjp(self._begun, self._read(state))
        parameters = u.parameters.clone()
        views = self.layout.named_views(parameters)
        (found,) = back({name: views[name].clone() for name in begun})
        for name in begun:
            views[name].zero_()
        for name, part in found.items():
            views[name] += part
        return u._replace(parameters=parameters)

    @cached_property
    def _reads(self) -> list[str]:
        of_merged = [name for one in self.merged for name in (one.before, *one.adapters)]
        return [*(name for one in self.resized for name in (one.before, one.name)), *of_merged]

    def _read(self, state: FlatState) -> dict[str, Tensor]:
        views = self.layout.named_views(state.parameters)
        return {name: views[name] for name in self._reads}

    def _with(self, state: FlatState, values: Mapping[str, Tensor]) -> FlatState:
        parameters = state.parameters.clone()
        views = self.layout.named_views(parameters)
        for name, value in values.items():
            views[name].copy_(value)
        return state._replace(parameters=parameters)

    def _begun(self, left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        begun = {one.name: merged_weight(one, left) for one in self.merged}
        begun = {name: value + self.rounding[name] if name in self.rounding else value for name, value in begun.items()}
        for one in self.resized:
            begun[one.name] = left[one.name].clone()
            begun[one.name][one.common] = left[one.before][one.common]
        return begun


def joinings(trajectory: Trajectory, layout: Layout, device: torch.device) -> dict[int, Joined]:
    """Return what the runs begin with that do not begin with what the one before left, by their first steps.

    Raises:
        AadslError: a run did not begin with the weights that merging gives.
    """
    chain, found = trajectory.chain, dict[int, Joined]()
    for step in sorted({one.step for one in chain.resized} | {one.step for one in chain.merged}):
        if step < trajectory.length:
            resized = [one for one in chain.resized if one.step == step]
            merged = [one for one in chain.merged if one.step == step]
            rounding = {name: off for one in merged for name, off in rounding_of(trajectory, one, device)}
            found[step] = Joined(layout, resized, merged, rounding)
    return found
