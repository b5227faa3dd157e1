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
from aadsl.interventions import first_change
from aadsl.propagation import FlatState
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.replayed.workers import Workers
from aadsl.study.cache import EffectCache, reasons
from aadsl.study.entries import Entry
from aadsl.study.identity import Identity, Key
from aadsl.study.model_store import KeptModel, ModelStore

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
    ) -> tuple[Effects, Floats, str]:
        """Return the effects, (S, K) the noise floor of each, and why they could not be kept (empty where they were).

        Every answer is kept as soon as it is there, so an interruption loses none. ``control``: a run without any
        change rides along, because the replay does not have the recorded bits.
        """
        task = _Task(self, identity, query)
        task.read_kept_models()
        if task.missing:
            task.train(Execution(progress, workers=workers), control)
        return *task.assembled(), reasons([key for row in task.keys for key in row])

    def model(self, identity: Identity, query: Query, progress: Progress, *, control: bool = False) -> FlatState:
        """Return ζ_T of the one stage of a query, from where it is kept, or trained now."""
        (key,) = model_keys(identity, query)
        kept = self.models.find(key)
        if kept is not None:
            return kept.state
        (end,) = ends(self.history, query.members, query.intervention, Execution(progress), control=control)
        self.models.keep(key, KeptModel(end.state, end.control), _control_key(identity, query, query.members, 0))
        return end.state

    def _rows(self, identity: Identity, query: Query) -> list[list[Entry | None]]:
        return self.cache.found(self.cache.stage_keys(identity, METHOD, query), query, NEEDED)


@dataclass
class _Task:
    """One question to :class:`ExactAnswers`, on its way."""

    answers: ExactAnswers
    identity: Identity
    query: Query

    def __post_init__(self) -> None:
        self.keys = self.answers.cache.stage_keys(self.identity, METHOD, self.query)
        self.model_keys = model_keys(self.identity, self.query)
        self.rows = self.answers.cache.found(self.keys, self.query, NEEDED)

    @property
    def missing(self) -> list[int]:
        """The stages of which an effect is not known yet."""
        return [s for s, row in enumerate(self.rows) if None in row]

    @cached_property
    def reader(self) -> Reader:
        """What reads the behaviors off models."""
        return Reader(self.answers.history, self.query.behaviors)

    def read_kept_models(self) -> None:
        """Answer what needs no run."""
        for s in self.missing:
            model = self.answers.models.find(self.model_keys[s])
            if model is not None:
                self._take(s, self._read(s, model))

    def train(self, execution: Execution, control: bool) -> None:
        """Answer the rest, and keep the models."""
        stages, history = self.missing, self.answers.history
        members = self.query.members[stages]
        controls: list[FlatState | None] = []  # of each portion that was trained together
        for end in ends(history, members, self.query.intervention, execution, control=control):
            s = stages[end.position]
            if not any(end.control is known for known in controls):
                controls.append(end.control)
            number = next(i for i, known in enumerate(controls) if known is end.control)
            rides = _control_key(self.identity, self.query, members, number)
            model = KeptModel(end.state, end.control)
            self.answers.models.keep(self.model_keys[s], model, rides)
            self._take(s, self._read(s, model))

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
            return self.reader.read(model.state, model.control)
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

    def _take(self, stage: int, reading: RunEffects) -> None:
        """Keep what was read for one stage."""
        for k in range(len(self.query.behaviors)):
            entry = {"effect": np.asarray(reading.effect[k]), "noise": np.asarray(reading.noise[k])}
            if k in reading.examples:
                entry["example_effect"] = reading.examples[k]
            self.rows[stage][k] = entry
        self.answers.cache.keep(self.keys[stage], [entry for entry in self.rows[stage] if entry is not None])


def model_keys(identity: Identity, query: Query) -> list[Key]:
    """Return under what the counterfactual model of each stage is kept: no behavior has a part in it."""
    return [identity.key("model", query.intervention, member) for member in query.members]


def exact_steps(history: History, query: Query) -> NDArray[np.int64]:
    """Return (S,) how many steps the run without each stage takes."""
    return applied_steps(history, query.members, query.intervention)


def first_of(members: Sequence[NDArray[np.bool_]] | NDArray[np.bool_]) -> int:
    """Return the first step at which any of these stages changes a run."""
    return min(first_change(member) for member in members)


def _control_key(identity: Identity, query: Query, members: NDArray[np.bool_], number: int) -> Key:
    """Return under what the control run of one portion of the stages is kept."""
    return identity.key("control", query.intervention, members, number)
