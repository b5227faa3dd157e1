"""A study: a run with its stages and behaviors, and the questions one can ask of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from aadsl.behaviors import BEHAVIORS
from aadsl.errors import AadslError, Problem, unknown_name
from aadsl.estimators import (
    ESTIMATORS,
    Additive,
    Answer,
    Auto,
    Behavior,
    Estimator,
    Question,
    require_differentiable,
    stage_sums,
)
from aadsl.examples import Examples
from aadsl.history import History
from aadsl.interventions import INTERVENTIONS, Intervention
from aadsl.members import member_of
from aadsl.plan import Plan, plan_for
from aadsl.propagation import Loss, Progress, silent
from aadsl.results import dataset_of
from aadsl.selection import step_mask
from aadsl.trajectory import Trajectory


class Study:
    """What is asked of one run.

    Args:
        trajectory: the recorded run.
        model: a model with the recorded parameters; it is copied, its weights do not matter.
        loss: ``loss(model, batch)``, the mean loss of a batch as a scalar tensor.
        data: what the recorded indices point into: tensors, a map-style dataset or an xarray Dataset.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Attributes:
        stages: name → boolean DataArray over ``step``; members of a family are called ``family[member]``.
        families: name → names of its stages.
        behaviors: name → :class:`aadsl.estimators.Behavior`.
        behavior_families: name → names of its behaviors.

    Raises:
        AadslError: model, data and trajectory do not fit together.
    """

    def __init__(
        self, trajectory: Trajectory, *, model: nn.Module, loss: Loss, data: Any = None, device: str = "auto"
    ) -> None:
        self.trajectory = trajectory
        self.history = History(trajectory, model=model, loss=loss, data=data, device=device)
        self.stages: dict[str, xr.DataArray] = {}
        self.families: dict[str, tuple[str, ...]] = {}
        self.behaviors: dict[str, Behavior] = {}
        self.behavior_families: dict[str, tuple[str, ...]] = {}
        self._step_effects: dict[tuple[Any, ...], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    @property
    def steps(self) -> xr.Dataset:
        """What was recorded of every step, over the dimension ``step``."""
        return self.trajectory.steps

    @property
    def data(self) -> Examples | None:
        """The training examples."""
        return self.history.examples

    def stage(self, name: str, selection: Any) -> xr.DataArray:
        """Name a set of steps.

        Args:
            name: how to call it.
            selection: a boolean DataArray or array over the steps, an array of step numbers, or a slice of them.

        Returns:
            The boolean mask over ``step``.

        Raises:
            AadslError: the selection is empty or does not fit the run.
        """
        chosen = step_mask(name, selection, self.history.length)
        mask = xr.DataArray(chosen, {"step": self.steps.step}, ("step",), name=name)
        self.stages[name] = mask
        return mask

    def family(self, name: str, members: Mapping[str, Any]) -> tuple[str, ...]:
        """Name several stages at once: each becomes the stage ``name[member]``."""
        names = []
        for member, selection in members.items():
            self.stage(f"{name}[{member}]", selection)
            names.append(f"{name}[{member}]")
        self.families[name] = tuple(names)
        return self.families[name]

    def behavior(
        self,
        name: str,
        metric: Any,
        on: Any,
        *,
        where: NDArray[np.bool_] | None = None,
        by: str | None = None,
        per_example: bool = False,
        **options: Any,
    ) -> Behavior | tuple[Behavior, ...]:
        """Name a performance function on given examples.

        Args:
            name: how to call it.
            metric: the name of a behavior (``"log_likelihood"``), with its ``options``; or a callable
                ``fn(model, examples)`` that returns one number an example.
            on: examples: a tuple of tensors, a map-style dataset or an xarray Dataset.
            where: (n,) boolean mask over the examples.
            by: a coordinate of the examples: one behavior ``name[value]`` for each of its values.
            per_example: whether effects are wanted for every example.
            options: parameters of a named metric (``target=7``).

        Raises:
            AadslError: an unknown metric, option or coordinate, or no example left.
        """
        examples = Examples.of(on)
        if where is not None:
            examples = examples.select(np.asarray(where, dtype=bool))
        if not len(examples):
            raise AadslError(f'behavior "{name}" has no example', hint="the condition leaves none of them")
        function = self._metric(metric, options)
        if by is None:
            self.behaviors[name] = Behavior(name, function, examples, per_example)
            return self.behaviors[name]
        if by not in examples.coordinates.variables:
            raise AadslError(unknown_name("coordinate", by, map(str, examples.coordinates.data_vars)))
        values = examples.coordinates[by].to_numpy()
        family = tuple(
            Behavior(f"{name}[{value}]", function, examples.select(values == value), per_example)
            for value in np.unique(values)
        )
        self.behaviors |= {behavior.name: behavior for behavior in family}
        self.behavior_families[name] = tuple(behavior.name for behavior in family)
        return family

    def step_effects(
        self,
        behaviors: Sequence[str],
        *,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.DataArray:
        """Return the first-order effect of every step alone, over (step, behavior).

        Raises:
            AadslError: an unknown name, a behavior without gradient, or an estimator that is not additive.
        """
        chosen = self._behaviors(behaviors)
        require_differentiable(chosen)
        effects, _ = self._swept(
            self._first_order(estimator), chosen, self._intervention(intervention), progress or silent
        )
        coordinates = {**self.steps.coords, "behavior": [b.name for b in chosen]}
        return xr.DataArray(effects, coordinates, ("step", "behavior"), name="step_effect")

    def score(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the effects of stages on behaviors.

        Args:
            stages: names of stages or families.
            behaviors: names of behaviors or behavior families.
            estimator: a name from :data:`aadsl.estimators.ESTIMATORS`, or one of its members with parameters.
            intervention: a name from :data:`aadsl.interventions.INTERVENTIONS`, or one of its members.
            progress: called as ``progress(what, done, total)``.

        Returns:
            A Dataset over (stage, behavior[, step, example]): ``effect``, ``observed``, ``member`` and, where the
            estimator is additive, ``step_effect``. Attributes say which question it answers and how.

        Raises:
            AadslError: an unknown name, or a behavior that needs a gradient and has none.
        """
        names, question = self._question(stages, behaviors, intervention)
        report = progress or silent
        method = self._estimator(estimator, question)
        if method.needs_gradient:
            require_differentiable(question.behaviors)
        if isinstance(method, Additive) and not any(b.per_example for b in question.behaviors):
            own, resets = self._swept(method, question.behaviors, question.intervention, report)
            answer = Answer(stage_sums(question, own, resets), step_effect=own)
        else:
            answer = method.answer(self.history, question, report)
        return dataset_of(self, names, question, method, answer)

    def retrain(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the exact effects, by training again without each stage; shaped like :meth:`score`."""
        exact = self.score(stages, behaviors, estimator="retraining", intervention=intervention, progress=progress)
        return exact.assign(retrained_effect=exact.effect.assign_attrs(long_name="exact effect"))

    def verify(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Any = "first_order",
        intervention: Any = "skip",
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return estimated effects beside exact ones: :meth:`score` with ``retrained_effect`` added."""
        estimate = self.score(stages, behaviors, estimator=estimator, intervention=intervention, progress=progress)
        exact = self.retrain(stages, behaviors, intervention=intervention, progress=progress)
        return estimate.assign(retrained_effect=exact.retrained_effect)

    def plan(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        estimator: Any = "first_order",
        intervention: Any = "skip",
    ) -> Plan:
        """Return what :meth:`score` would compute and what that costs, without computing it."""
        _, question = self._question(stages, behaviors, intervention)
        return plan_for(self.history, question, self._estimator(estimator, question))

    def _question(
        self, stages: Sequence[str], behaviors: Sequence[str], intervention: Any
    ) -> tuple[list[str], Question]:
        names = [member for name in stages for member in self.families.get(name, (name,))]
        unknown = [unknown_name("stage", n, [*self.stages, *self.families]) for n in names if n not in self.stages]
        if unknown or not names:
            raise AadslError(*unknown or [Problem("no stage is asked about", "name at least one stage")])
        members = np.stack([self.stages[name].to_numpy() for name in names])
        return names, Question(members, tuple(self._behaviors(behaviors)), self._intervention(intervention))

    def _behaviors(self, names: Sequence[str]) -> list[Behavior]:
        flat = [member for name in names for member in self.behavior_families.get(name, (name,))]
        known = [*self.behaviors, *self.behavior_families]
        unknown = [unknown_name("behavior", name, known) for name in flat if name not in self.behaviors]
        if unknown or not flat:
            raise AadslError(*unknown or [Problem("no behavior is asked about", "name at least one behavior")])
        return [self.behaviors[name] for name in flat]

    def _swept(
        self, method: Additive, behaviors: Sequence[Behavior], intervention: Intervention, progress: Progress
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return step and reset effects (T, K), sweeping only for the behaviors that were not asked about before."""

        def key(behavior: Behavior) -> tuple[Any, ...]:
            return (method, intervention, id(behavior.examples.source), id(behavior))

        missing = [b for b in behaviors if key(b) not in self._step_effects]
        if missing:
            own, resets = method.step_effects(self.history, missing, intervention, progress)
            for k, behavior in enumerate(missing):
                self._step_effects[key(behavior)] = (own[:, k], resets[:, k])
        found = [self._step_effects[key(b)] for b in behaviors]
        return np.stack([own for own, _ in found], axis=1), np.stack([resets for _, resets in found], axis=1)

    def _metric(self, metric: Any, options: dict[str, Any]) -> Any:
        if not isinstance(metric, str):
            if options:
                raise AadslError(f"options {', '.join(options)} are for named behaviors; bind them in the callable")
            return metric
        return member_of("behavior", BEHAVIORS, metric, options)

    def _estimator(self, estimator: Any, question: Question | None = None) -> Estimator:
        chosen: Estimator = (
            member_of("estimator", ESTIMATORS, estimator, {}) if isinstance(estimator, str) else estimator
        )
        return chosen.choose(self.history, question) if isinstance(chosen, Auto) and question is not None else chosen

    def _first_order(self, estimator: Any) -> Additive:
        method = self._estimator(estimator)
        if not isinstance(method, Additive):
            raise AadslError(
                f"{type(method).__name__} gives no effects of single steps", hint="use first_order(), which is additive"
            )
        return method

    def _intervention(self, intervention: Any) -> Intervention:
        by_name = isinstance(intervention, str)
        chosen: Intervention = member_of("intervention", INTERVENTIONS, intervention, {}) if by_name else intervention
        return chosen
