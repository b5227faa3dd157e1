"""The optimizer's share of steps that are taken one after the other, in one memory: nobody sees the states between.

A step of a small network waits for memory, and fresh memory for each state costs a tenth of it.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from aadsl.dynamics import RESTING, Dynamics, Pausing, Slots, has_fused_kernels, has_fused_step, step_in_place
from aadsl.propagation.layout import FlatState, Layout
from aadsl.propagation.step import Step
from aadsl.propagation.update import clipped, updated


class Memory:
    """What parameters and slots of one state take, written anew by each step.

    Nothing else is ever written to: what lies elsewhere (a state that was stored, what a step begins or is displaced
    with) is copied first. So only states that were made here change, and of those all but the latest are forgotten.
    """

    def __init__(self) -> None:
        self._own: dict[tuple[int, str], Tensor] = {}

    def updated(
        self, layout: Layout, start: FlatState, gradient: Tensor, present: Tensor | None, step: Step
    ) -> tuple[Tensor, tuple[Slots, ...]]:
        """Return the bits of :func:`updated` as they were recorded, in this memory where the step can be taken there.

        An average may hold the parameters themselves, and parameters without a gradient (``present``) have to stay.
        """
        plain = present is None and start.average is None and start.parameters.device.type == "cpu"
        if not plain or not all(map(_in_place, step.dynamics)):
            self._own = {}  # a third state beside those before and after would be too many
            return updated(layout, start, gradient, present, step, as_recorded=True)
        gradient, parameters = clipped(gradient, step, layout), self._held(0, "", start.parameters)
        slots = tuple(
            {name: self._held(group, name, t) if t.dim() else t for name, t in own.items()}
            for group, own in enumerate(start.slots)
        )
        for group, (own, dynamics, hyper) in enumerate(zip(slots, step.dynamics, step.hyper, strict=True)):
            if has_fused_kernels(dynamics):
                fused = has_fused_step(dynamics, hyper)
                views = partial(layout.group_views, group) if fused else _whole
                vectors = {name: views(t) for name, t in own.items() if t.dim()}
                pair = (t if len(slots) == 1 else t[layout.group_slices[group]] for t in (parameters, gradient))
                weights, gradients = map(views, pair)
                own.update(step_in_place(dynamics, weights, own, gradients, vectors, hyper, fused))
        return parameters, slots

    def _held(self, group: int, name: str, vector: Tensor) -> Tensor:
        """Return the place of a vector in this memory, with its values."""
        own = self._own.get((group, name))
        if own is None:
            own = self._own[group, name] = vector.clone()
        elif own is not vector:
            own.copy_(vector)
        return own


def _whole(vector: Tensor) -> list[Tensor]:
    return [vector]


def _in_place(dynamics: Dynamics) -> bool:
    return dynamics is RESTING or isinstance(dynamics, Pausing) or has_fused_kernels(dynamics)
