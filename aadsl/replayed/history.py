"""A trajectory joined with the model, loss and data that made it: the run that propagation walks over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import _lru_cache_wrapper, cached_property, lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from aadsl.core.errors import AadslError, did_you_mean
from aadsl.core.generators import NUMPY, PYTHON, OwnGenerator
from aadsl.core.progress import Progress, silent
from aadsl.core.state import State
from aadsl.core.units import bytes_of
from aadsl.propagation import (
    FlatState,
    Layout,
    Objective,
    Step,
    StepMap,
    final_state,
    kinks,
    placed,
    shipped,
)
from aadsl.replayed import fitting
from aadsl.replayed.averages import ShippedAverage
from aadsl.replayed.batches import BatchLoader
from aadsl.replayed.devices import device_of
from aadsl.replayed.displacement import NextCheckpoint
from aadsl.replayed.drawing import Drawing, losses_of, require_generators
from aadsl.replayed.evaluated import Evaluated
from aadsl.replayed.flattening import Flattening
from aadsl.replayed.given import TRAINED, note_on_weights
from aadsl.replayed.held_states import states_held
from aadsl.replayed.joinings import joinings
from aadsl.replayed.models import GivenLoss, GivenModel, Models
from aadsl.replayed.rules import GivenOptimizer, Rules
from aadsl.replayed.steps import RecordedSteps
from aadsl.replayed.training_data import TrainingData
from aadsl.replayed.waypoints import Waypoints
from aadsl.replayed.weights import MicroBatchWeights
from aadsl.trajectory import Trajectory

STEPS = 1 << 13  # steps kept, without their batches


class History:
    """The observed run as :class:`aadsl.propagation.Run`, on one device.

    Args:
        trajectory: what was recorded.
        model: a model with the recorded parameters; it is copied, its weights do not matter. Or a dict of them by run.
        loss: ``loss(model, batch)``, the mean loss of a batch as a scalar tensor; or a dict of them by run.
        data: what recorded indices point into, or a dict of it by run; not needed where the batches were stored.
        device: where to compute: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU where there is one.
        memory: of the host's, for the states held during a sweep, ``"4GiB"``; by default up to half of what is free.
        optimizer: what makes an optimizer that has no step function: ``optimizer(params)``; by default it is looked up.
        generators: those of the program's own that were recorded, which ``loss`` or ``model`` draw from.

    Attributes:
        opaque: the names of the optimizers whose steps have no derivative, so that nothing can be swept; as a rule "".
        alone: why runs do not advance together, in words, where that lies with an optimizer; as a rule "".
        made_of: what decides the steps of those.
        models: the model and the loss of each run; data: its examples; batches: what loads those of a step.
        asked: which model answers are about where that is not the run's end: see :mod:`aadsl.replayed.final`.
        end: after how many steps it was made, as a rule after all that were recorded; average: of which weights it is
            the average, as a rule of none; evaluated: makes of a state the one whose weights the optimizer evaluates,
            where these are others than it trains, and are asked about.
        finish: what is done to it before it is shipped; given: what to know of its weights; as a rule nothing.
        drawn_from: all generators that the loss may draw from.
        witness: what is told where the replay of each stretch between two stored states ended.
        waypoints: states that verification passes and others want; replayed_steps: how many steps it has replayed.

    Raises:
        AadslError: the model's parameters are not the recorded ones, the data are missing, or there is no such device.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        *,
        model: GivenModel,
        loss: GivenLoss,
        data: Any = None,
        device: str | torch.device = "auto",
        memory: str | float | None = None,
        optimizer: GivenOptimizer = None,
        generators: Sequence[OwnGenerator] = (),
    ) -> None:
        self.trajectory, self.device = trajectory, device_of(device)
        self.asked: int | str | tuple[int, ...] | None = None
        self.end, self.average = trajectory.length, cast("ShippedAverage | None", None)
        self.finish: Callable[[FlatState], FlatState] | None = None
        if not trajectory.length:
            raise AadslError(f"{trajectory.path} holds no steps", hint="record some, and commit them: recorder.close()")
        if not trajectory.checkpoints:
            hint = "restore the files from a copy; trajectory.violations() says which are missing"
            raise AadslError(f"no state of {trajectory.path} is there, which a replay begins with", hint=hint)
        self.models = Models.of(model, loss, trajectory)
        require_generators(trajectory, generators)
        self.drawn_from = {"cpu", str(self.device), PYTHON, NUMPY, *generators}
        self.data = TrainingData.of(data, trajectory)
        for job in trajectory.jobs:
            if job.start < job.stop and trajectory.micro_batches(job.start) is None:
                self.data.at(job.start)
        self.batches = BatchLoader(trajectory, self.data, self.device)
        self._rules = Rules(trajectory, self._like, optimizer)
        self.opaque, self.made_of = self._rules.opaque, self._rules.made_of
        self.alone = self._rules.alone
        specs = {name: trajectory.parameters[name] for name in self.models.ordered(trajectory)}
        fields = ("shape", "group", "memory_format")
        layout = Layout.of(*({n: getattr(s, field) for n, s in specs.items()} for field in fields))
        kinds = {name: spec.dtype for name, spec in trajectory.buffers.items()}
        first, last = (trajectory.state(t) for t in (0, trajectory.checkpoints[-1]))
        moving = fitting.moving_buffers(first, last)
        self._integers = tuple(name for name in moving if "int" in kinds[name])
        buffers = Layout.of({n: trajectory.buffers[n].shape for n in moving if n not in self._integers})
        like = next(iter(first.parameters.values())).to(self.device)
        objective = self.models.objective(layout, buffers, self._integers, like, generators)
        self.step_map = StepMap(objective)
        for one in self.private_models:
            fitting.restore_constants(one, trajectory, first, moving)
        self._flattened = Flattening(trajectory, self._rules, (layout, buffers, self._integers), self.device)
        evaluated = Evaluated(trajectory, self._rules, layout, self._flattened)
        self.evaluated = evaluated if evaluated.differs else None
        of_last = self.models.last, first, last, self.evaluated
        self.given = "" if self.models.by_path else note_on_weights(trajectory, *of_last)
        self._final: FlatState | None = None
        self.witness: Callable[[int, int, FlatState], None] | None = None
        self.waypoints, self.replayed_steps = Waypoints(), 0
        self._memory = None if memory is None else bytes_of(memory)
        self._recorded = RecordedSteps(trajectory, self._rules, self.batches, self.device, generators)
        self._drawing = Drawing(trajectory, self._losses)
        for job, one in zip(trajectory.jobs, self.private_models, strict=True):
            fitting.require_modules(one, set(self._recorded.off_mode[job.start : job.stop]))
        self._joinings = joinings(trajectory, layout, self.device)

    @property
    def length(self) -> int:
        """Number of steps T up to the model that answers are about."""
        return self.end

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Steps up to there whose state was recorded."""
        return tuple(step for step in self.trajectory.checkpoints if step <= self.end)

    @property
    def no_derivative(self) -> str:
        """Why nothing can be swept, in words; as a rule ""."""
        if self.finish is not None:
            return "what is done to the model after training, finish=…, has no derivative"
        return f"steps of {self.opaque} have no derivative" if self.opaque else ""

    @property
    def of_model(self) -> str:
        """Which model answers are about, in words; "" where it is the one that the run ended with."""
        if self.average is not None:
            return self.average.words
        whole = "" if self.end == self.trajectory.length else f"the model after {self.end:,} of its steps"
        if self.evaluated is not None:
            return f"{whole or 'the model'} with the weights that optimizer.eval() sets"
        return "the model with the weights of training, before optimizer.eval()" if self.asked == TRAINED else whole

    @cached_property
    def limit(self) -> int:
        """How many states a sweep holds at a time."""
        return states_held(self.state(0), (*self.checkpoints, self.length), self._memory)

    @property
    def private_models(self) -> list[nn.Module]:
        """The copy of each run's model that is replayed with."""
        return [one.model for one in self.objective.runs or [self.objective] * len(self.trajectory.jobs)]

    @property
    def objective(self) -> Objective:
        """The loss as a function of flat states."""
        return self.step_map.objective

    @cached_property
    def kinks(self) -> set[str]:
        """The piecewise-linear operators of the network, seen on the first step's batch; empty for a smooth one."""
        first, state = self.step(0), self.state(0)
        return kinks(lambda: self.objective.of(first).loss_of(state, first))

    def chosen(self, pattern: str) -> Tensor:
        """Return (P,) true over the parameters whose names match a pattern such as ``"head.*"``.

        Raises:
            AadslError: no name matches.
        """
        layout = self.objective.parameters
        present = [fnmatchcase(name, pattern) for name in layout.names]
        if not any(present):
            raise AadslError(
                f'no parameter matches "{pattern}"',
                hint=did_you_mean(pattern, layout.names) or f"the run trained {', '.join(layout.names[:8])}",
            )
        return layout.mask(present, self.device)

    def step(self, index: int) -> Step:
        """Return the recorded step Φ_t; many runs pass over the same ones."""
        return self._steps(index)

    @cached_property
    def _steps(self) -> _lru_cache_wrapper[Step]:
        return lru_cache(maxsize=STEPS)(self._make_step)

    def _make_step(self, index: int) -> Step:
        averaging = None if self.average is None else self.average.averaging(index)
        joining, displacement = self._joinings.get(index), self._displacements.get(index + 1)
        early = self._drawing.is_early(index)
        own = self._recorded.at(index, self.weights.at(index), averaging, early=early)
        return replace(own, joining=joining, displacement=displacement) if joining or displacement else own

    @cached_property
    def _displacements(self) -> dict[int, NextCheckpoint]:
        """What moved the state where steps that were trained again ended beside the next checkpoint, by that step."""
        left = lru_cache(maxsize=1)(lambda step: self._flattened(self.trajectory.chain.left(step), step))
        beside = (gap.stop for gap in self.trajectory.gaps if gap.verdict != "exact")
        return {step: NextCheckpoint(step, self.state, left) for step in beside}

    @cached_property
    def weights(self) -> MicroBatchWeights:
        """What tells the weights of micro-batches."""
        losses = lambda index: self._losses(index, self._drawing.is_early(index))  # noqa: E731
        return MicroBatchWeights(self.trajectory, self._recorded.batches, losses)

    def _losses(self, index: int, early: bool) -> list[float]:
        """Return the loss of each micro-batch of a step whose state was stored."""
        step = self._recorded.at(index, early=early)
        return losses_of(self.objective.of(step), self.state(index), step, self.drawn_from)

    def reached(self, start: int, stop: int, end: FlatState) -> None:
        """Tell :attr:`witness`, if there is one, where the replay between two stored states ended."""
        if self.witness is not None:
            self.witness(start, stop, end)

    def state(self, index: int) -> FlatState:
        """Return the recorded state ξ_t of a checkpoint, flat and on the device; both ends of a stretch are held."""
        return self._states(index)

    @cached_property
    def _states(self) -> _lru_cache_wrapper[FlatState]:
        return lru_cache(maxsize=2)(lambda index: self.flat(self.trajectory.state(index), index))

    @property
    def final(self) -> FlatState:
        """The model that answers are about, replayed where it was not kept; held, because every answer reads it."""
        return self.replay_end()

    def replay_end(self, progress: Progress = silent) -> FlatState:
        """Return :attr:`final`; the first time, ``progress`` is told of a replay."""
        self._final = self._final or self.shipped(final_state(self, self.step_map, progress))
        return self._final

    def shipped(self, state: FlatState) -> FlatState:
        """Return the model that is read off where a run ends: its state, or an average that is part of it."""
        state = state if self.average is None else shipped(state, self.average.own_buffers)
        state = state if self.evaluated is None else self.evaluated(state)
        return state if self.finish is None else self.finish(state)

    def placed(self, u: FlatState) -> FlatState:
        """Return the cotangent of a state for that of the model that behaviors are read off there."""
        return u if self.average is None else placed(u, self.state(0), self.average.own_buffers)

    def flat(self, state: State, index: int) -> FlatState:
        """Return ``state``, recorded before step ``index``, in flat form."""
        flat = self._flattened(state, index)
        return flat if self.average is None else flat._replace(average=self.average.at(flat, index, state))

    def model_at(self, state: FlatState) -> nn.Module:
        """Return a copy of the model that was given, with the weights and buffers of a state."""
        constant, called = dict(self.objective.model.named_buffers()), self.models.names[-1]
        tensors = {name: constant[name] for name in self.trajectory.buffers if name in constant}
        trained = self.objective.parameters.named_views(state.parameters).items()
        tensors |= {called[name]: view for name, view in trained if name in called}
        integers = dict(zip(self._integers, state.integers, strict=True))
        moved = self.objective.buffers.named_views(state.buffers) | integers
        return fitting.loaded(self.models.last, tensors | {n: value for n, value in moved.items() if n in constant})

    def _like(self, group: int) -> dict[str, Tensor]:
        """Return zeros like the parameters of a group by name, with the strides of the model's own."""
        specs = {name: spec for name, spec in self.trajectory.parameters.items() if spec.group == group}
        return {name: self.models.like(name, spec, self.device) for name, spec in specs.items()}
