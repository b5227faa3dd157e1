"""Exact answers: what was answered before, what can be read off a kept model, and the runs that are left to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress
from aadsl.estimators import Effects, Query, Retraining
from aadsl.estimators.base import Floats
from aadsl.estimators.retraining import Reader, RunEffects, applied_steps, ends
from aadsl.interventions import first_step
from aadsl.propagation import End, FlatState
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.replayed.workers import Workers
from aadsl.study.cache import EffectCache, reasons
from aadsl.study.entries import Entry
from aadsl.study.identity import Identity, Key
from aadsl.study.model_store import KeptModel, ModelStore
from aadsl.study.shapley import student_quantile

METHOD, NEEDED = Retraining(), ("effect", "noise")


@dataclass(frozen=True)
class ExactAnswers:
    """Exact effects about one run; whatever of them is known already is not computed again."""

    history: History
    cache: EffectCache
    models: ModelStore

    def known(self, identity: Identity, query: Query) -> NDArray[np.bool_]:
        """Return (S,) the stages whose effects on all behaviors were answered before."""
        return np.array([None not in row for row in self._rows(identity, query)])

    def to_train(self, identity: Identity, query: Query) -> NDArray[np.bool_]:
        """Return (S,) the stages whose effects need another run: neither they nor the model are kept."""
        known = self.known(identity, query)
        return np.array(
            [not k and not self.models.holds(key) for k, key in zip(known, model_keys(identity, query), strict=True)]
        )

    def answer(
        self,
        identity: Identity,
        query: Query,
        progress: Progress,
        *,
        control: bool = False,
        workers: Workers | None = None,
        repeats: int = 1,
    ) -> tuple[Effects, Floats, str]:
        """Return the effects, (S, K) the noise floor of each, and why they could not be kept (empty where they were).

        Every answer is kept as soon as it is there, so an interruption loses none. ``control``: a run without any
        change rides along, because the replay does not have the recorded bits. ``repeats``: of so many trainings the
        effects are the means, and the noise is half their 90% intervals.
        """
        task = _Task(self, identity, query, repeats)
        for number in range(repeats):
            task.train(number, Execution(progress, workers=workers), control)
        return *task.assembled(), reasons([key for row in task.keys for key in row])

    def model(self, identity: Identity, query: Query, progress: Progress, *, control: bool = False) -> FlatState:
        """Return ζ_T of the one stage of a query, from where it is kept, or trained now."""
        (key,) = model_keys(identity, query)
        kept = self.models.find(key)
        if kept is not None:
            return kept.state
        (end,) = ends(self.history, query.members, query.intervention, Execution(progress), control=control)
        rides = _control_keys(identity, query, query.members, end, 0)
        self.models.keep(key, KeptModel(end.state, end.controls), rides)
        return end.state

    def _rows(self, identity: Identity, query: Query) -> list[list[Entry | None]]:
        return self.cache.found(self.cache.stage_keys(identity, METHOD, query), query, NEEDED)


@dataclass
class _Task:
    """One question to :class:`ExactAnswers`, on its way."""

    answers: ExactAnswers
    identity: Identity
    query: Query
    repeats: int

    def __post_init__(self) -> None:
        self.keys = self.answers.cache.stage_keys(
            self.identity, Retraining(self.repeats) if self.repeats > 1 else METHOD, self.query
        )
        self.readings: dict[int, list[RunEffects]] = {}  # of the trainings without a stage
        self.rows = self.answers.cache.found(self.keys, self.query, NEEDED)

    @property
    def missing(self) -> list[int]:
        """The stages of which an effect is not known yet."""
        return [s for s, row in enumerate(self.rows) if None in row]

    @cached_property
    def reader(self) -> Reader:
        """What reads the behaviors off models."""
        return Reader(self.answers.history, self.query.behaviors)

    def train(self, number: int, execution: Execution, control: bool) -> None:
        """Read the effects off the models of one of the repeats; those that are not kept are trained, and kept."""
        keys, models = model_keys(self.identity, self.query, number), self.answers.models
        stages = []
        for s in self.missing:
            model = models.find(keys[s])
            if model is None:
                stages.append(s)
            else:
                self._note(s, self._read(s, model))
        if not stages:
            return
        members = self.query.members[stages]
        portions: list[tuple[FlatState, ...]] = []  # the control runs of each that was trained together
        for end in ends(self.answers.history, members, self.query.intervention, execution, control=control):
            if not any(end.controls is known for known in portions):
                portions.append(end.controls)
            portion = next(i for i, known in enumerate(portions) if known is end.controls)
            rides = _control_keys(self.identity, self.query, members, end, portion, *_repeat(number))
            s, model = stages[end.position], KeptModel(end.state, end.controls)
            models.keep(keys[s], model, rides)
            self._note(s, self._read(s, model))

    def assembled(self) -> tuple[Effects, Floats]:
        """Return the answers as tables over stages and behaviors."""
        rows = [[entry for entry in row if entry is not None] for row in self.rows]
        effect, noise = (np.array([[entry[name] for entry in row] for row in rows]) for name in ("effect", "noise"))
        detailed = [k for k, behavior in enumerate(self.query.behaviors) if behavior.per_example]
        return Effects(effect, {k: np.stack([row[k]["example_effect"] for row in rows]) for k in detailed}), noise

    def _read(self, stage: int, model: KeptModel) -> RunEffects:
        """Read the behaviors off a model.

        Raises:
            AadslError: a behavior fails there; which steps the model was trained without is said.
        """
        try:
            return self.reader.read(model.state, model.controls)
        except AadslError as error:
            steps = np.flatnonzero(self.query.members[stage])
            without = (
                f"step {steps[0]}" if len(steps) == 1 else f"the {len(steps)} steps from {steps[0]} to {steps[-1]}"
            )
            problem = error.problems[0]
            raise AadslError(
                f"{problem.message}, on the model trained without {without}",
                hint=f"{problem.hint}; what was answered before is kept",
            ) from error

    def _note(self, stage: int, reading: RunEffects) -> None:
        """Note what was read off a model without a stage; once all repeats were, keep what they say together."""
        readings = self.readings.setdefault(stage, [])
        readings.append(reading)
        if len(readings) == self.repeats:
            self._take(stage, together(readings))

    def _take(self, stage: int, reading: RunEffects) -> None:
        """Keep what was read for one stage."""
        for k in range(len(self.query.behaviors)):
            entry = {"effect": np.asarray(reading.effect[k]), "noise": np.asarray(reading.noise[k])}
            if k in reading.examples:
                entry["example_effect"] = reading.examples[k]
            self.rows[stage][k] = entry
        self.answers.cache.keep(self.keys[stage], [entry for entry in self.rows[stage] if entry is not None])


def together(readings: Sequence[RunEffects]) -> RunEffects:
    """Return the mean of effects of the same stage, with half its 90% interval as the noise; a single one as it is."""
    if len(readings) == 1:
        return readings[0]
    drawn = np.stack([reading.effect for reading in readings])
    half = student_quantile(0.95, len(drawn) - 1) * drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    examples = {k: np.mean([reading.examples[k] for reading in readings], axis=0) for k in readings[0].examples}
    return RunEffects(drawn.mean(axis=0), half, examples)


def _repeat(number: int) -> tuple[int, ...]:
    """Return what marks the models of a repeat: nothing those of the first, which are there without repeats, too."""
    return (number,) if number else ()


def model_keys(identity: Identity, query: Query, number: int = 0) -> list[Key]:
    """Return under what the counterfactual model of each stage is kept: no behavior has a part in it."""
    return [identity.key("model", query.intervention, member, *_repeat(number)) for member in query.members]


def exact_steps(history: History, query: Query) -> NDArray[np.int64]:
    """Return (S,) how many steps the run without each stage takes."""
    return applied_steps(history, query.members, query.intervention)


def firsts_of(query: Query) -> list[int]:
    """Return the step that the run without each stage begins with."""
    return [first_step(query.intervention, member) for member in query.members]


def first_of(query: Query) -> int:
    """Return the first of them."""
    return min(firsts_of(query))


def _control_keys(identity: Identity, query: Query, members: NDArray[np.bool_], end: End, *portion: int) -> list[Key]:
    """Return under what the control runs of one portion of the stages are kept."""
    numbers = range(len(end.controls))
    return [identity.key("control", query.intervention, members, portion, number) for number in numbers]
