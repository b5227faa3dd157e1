"""The exact effect: the run is trained again without the stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.estimators.base import Behavior, Cost, Effects, Estimator, Floats, Query, final_readouts
from aadsl.estimators.spread import RetrainedStages, spread_runs
from aadsl.estimators.together import reproducible, trained
from aadsl.interventions import Intervention, first_step
from aadsl.propagation import End, FlatState, way_to
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History

FEWEST = 4  # draws that tell how far they scatter


@checked
@dataclass(frozen=True)
class Retraining(Estimator):
    """Train the run again under the intervention and compare: the exact answer, one gradient a step and stage.

    Args:
        repeats: where no training ends as another one (a GPU without deterministic kernels), one is one draw: so many
            are made, and their mean and its 90% interval answer. Where bits are the same, one is enough, as by default.
    """

    repeats: int | None = None

    exact: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False
    additive: ClassVar[bool | None] = False

    def __post_init__(self) -> None:
        if self.repeats is not None and self.repeats != 1 and self.repeats < FEWEST:
            hint = f"an interval needs {FEWEST} of them, or more"
            raise AadslError(f"retraining(repeats={self.repeats}) makes too few trainings", hint=hint)

    def times(self, history: History, control: bool) -> int:
        """Return how many trainings answer, where a control run is needed or not."""
        wanted = self.repeats or 1
        return wanted if wanted > 1 and control and not reproducible(history) else 1

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        """Return γ(ξ_T) − γ(ζ_T), with ζ the run in which the intervention happens."""
        reader = Reader(history, query.behaviors)
        found: dict[int, RunEffects] = {}
        for end in ends(history, query.members, query.intervention, execution):
            found[end.position] = reader.read(end.state, end.controls)
        rows = [found[s] for s in range(len(query.members))]
        examples = {
            k: np.stack([row.examples[k] for row in rows]) for k, b in enumerate(query.behaviors) if b.per_example
        }
        return Effects(np.stack([row.effect for row in rows]), examples)

    def cost(self, history: History, query: Query) -> Cost:
        """Return one gradient for each step after a stage began, and on the way there from a stored state.

        Of a run that no training repeats to the bit, as many times as there are trainings.
        """
        way = way_to(history, [first_step(query.intervention, member) for member in query.members])
        way += history.length if query.intervention.decides_anew else 0  # its control run
        gradients = int(applied_steps(history, query.members, query.intervention).sum())
        return Cost(float(self.times(history, True) * (gradients + way)), 0, "exact replay")


def ends(
    history: History,
    members: NDArray[np.bool_],
    intervention: Intervention,
    execution: Execution,
    *,
    control: bool = False,
) -> Iterator[End]:
    """Yield ζ_T of each stage, (S, T) ``members``, as it is done.

    With ``control`` a run in which nothing is changed rides along, to which ζ_T is compared instead of ξ_T.
    """
    if execution.workers is not None and len(members) > 1:
        asked = RetrainedStages(members, intervention, control)
        yield from spread_runs(execution.workers, history, asked, execution.progress)
        return
    yield from trained(history, members, intervention, control=control, progress=execution.progress)


def applied_steps(history: History, members: NDArray[np.bool_], intervention: Intervention) -> NDArray[np.int64]:
    """Return (S,) how many steps happen in the run without each stage, from where it begins."""
    firsts = np.array([first_step(intervention, member) for member in members])
    skipped = [
        int(member.sum()) if not intervention.vary(history.step(int(first))).applied else 0
        for member, first in zip(members, firsts, strict=True)
    ]
    counts: NDArray[np.int64] = history.length - firsts - np.array(skipped)
    return counts


class RunEffects(NamedTuple):
    """What behaviors say of one counterfactual model.

    Attributes:
        effect: (K,) effects on the means over their examples.
        noise: (K,) the largest difference between γ of the observed run and of runs without any change; 0 where none
            was needed. Of several such effects: half the 90% interval of their mean.
        examples: for each behavior that is per example: (n,) effects, by position of the behavior.
    """

    effect: Floats
    noise: Floats
    examples: dict[int, Floats]


class Reader:
    """Reads behaviors off counterfactual models: effects are differences to the control run, or else to ξ_T."""

    def __init__(self, history: History, behaviors: Sequence[Behavior]) -> None:
        self._behaviors = behaviors
        self._final, self._readouts = final_readouts(history, behaviors)
        self._observed = self._values(self._final)
        self._controls: tuple[tuple[FlatState, ...], list[list[Floats]]] = ((), [])

    def read(self, end: FlatState, controls: tuple[FlatState, ...]) -> RunEffects:
        """Return what differs at ζ_T from the ends of control runs, or from ξ_T where there are none."""
        unchanged = self._at(controls)
        reference = [np.mean(values, axis=0) for values in zip(*(unchanged or [self._observed]), strict=True)]
        differences = [known - other for known, other in zip(reference, self._values(end), strict=True)]
        noise = [np.ptp([own.mean() for own in values]) for values in zip(self._observed, *unchanged, strict=True)]
        examples = {k: differences[k] for k, behavior in enumerate(self._behaviors) if behavior.per_example}
        return RunEffects(np.array([d.mean() for d in differences]), np.array(noise), examples)

    def _at(self, controls: tuple[FlatState, ...]) -> list[list[Floats]]:
        known = self._controls[0]
        if len(known) != len(controls) or any(own is not other for own, other in zip(known, controls, strict=True)):
            self._controls = controls, [self._values(control) for control in controls]
        return self._controls[1]

    def _values(self, state: FlatState) -> list[Floats]:
        return [readout.values(state).cpu().numpy() for readout in self._readouts]
