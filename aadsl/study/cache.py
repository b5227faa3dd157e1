"""Effects that were computed before, kept beside the trajectory under a digest of everything they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.estimators import Additive, Behavior, Effects, Estimator, Query, StepEffects
from aadsl.estimators.base import final_readouts
from aadsl.estimators.spread import SweptSteps, spread_sweeps
from aadsl.interventions import Intervention
from aadsl.replayed.checkpoints import SweepCheckpoints
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.replayed.workers import Workers
from aadsl.study.entries import Entry, EntryStore
from aadsl.study.example_digests import ExampleDigests
from aadsl.study.fingerprint import NoFingerprint, fingerprint
from aadsl.study.identity import Identity, Key

_EFFECT, _STEPS = ("effect",), StepEffects._fields
# These may be unknown, or beyond all bounds.
_UNBOUNDED = {"growth", "disagreement"}


@dataclass(frozen=True)
class EffectCache:
    """Answers of estimators about one run, computed once.

    Every answer is asked for with the :class:`Identity` of the run as it is then, and returned with the reason why it
    could not be kept; empty where it was. ``decoders`` processes decode examples, where that takes long.
    """

    history: History
    entries: EntryStore
    decoders: int = 0

    @cached_property
    def digests(self) -> ExampleDigests:
        """What tells the digests of examples, and keeps those beside the effects."""
        return ExampleDigests(self.entries, self.decoders)

    def step_effects(
        self,
        identity: Identity,
        method: Additive,
        behaviors: Sequence[Behavior],
        intervention: Intervention,
        progress: Progress,
        workers: Workers | None = None,
    ) -> tuple[StepEffects, str]:
        """Return what ``method.step_effects`` gives, sweeping only for behaviors that were not asked about before."""
        keys = self.keys_of(identity, ("steps", method, intervention), behaviors)
        found = self._found(keys, behaviors, _STEPS)
        missing = [k for k, entry in enumerate(found) if entry is None]
        if missing:
            new = [behaviors[k] for k in missing]
            if workers is not None and len(new) > 1:
                swept = spread_sweeps(workers, SweptSteps(method, tuple(new), intervention), progress)
            else:
                with self._checkpoints([keys[k] for k in missing]) as checkpoints:
                    swept = method.step_effects(self.history, new, intervention, Execution(progress, checkpoints))
            fresh = [{name: part[..., i] for name, part in swept._asdict().items()} for i in range(len(missing))]
            for k, entry in zip(missing, fresh, strict=True):
                found[k] = entry
            self.keep([keys[k] for k in missing], fresh)
        entries = [entry for entry in found if entry is not None]
        effects = StepEffects(*(np.stack([e[name] for e in entries], axis=-1) for name in StepEffects._fields))
        return effects, reasons(keys)

    def effects(self, identity: Identity, method: Estimator, query: Query, progress: Progress) -> tuple[Effects, str]:
        """Return what ``method.answer`` gives, computing only for stages that were not asked about before."""
        keys = self.stage_keys(identity, method, query)
        rows = self.found(keys, query)
        missing = [s for s, row in enumerate(rows) if None in row]
        if missing:
            part, own = replace(query, members=query.members[missing]), [key for s in missing for key in keys[s]]
            with self._checkpoints(own) as checkpoints:
                answer = method.answer(self.history, part, Execution(progress, checkpoints))
            fresh = [_row(answer, query, i) for i in range(len(missing))]
            for s, row in zip(missing, fresh, strict=True):
                rows[s] = list(row)
            self.keep(own, [entry for row in fresh for entry in row])
        whole = _assembled([[entry for entry in row if entry is not None] for row in rows])
        return whole, reasons([key for row in keys for key in row])

    def knows(self, identity: Identity, method: Estimator, query: Query) -> bool:
        """Return whether the answer is here already."""
        known = all(None not in row for row in self.found(self.stage_keys(identity, method, query), query))
        if known or not isinstance(method, Additive):
            return known
        steps = self.keys_of(identity, ("steps", method, query.intervention), query.behaviors)
        return None not in self._found(steps, query.behaviors, _STEPS)

    def stage_keys(self, identity: Identity, method: Estimator, query: Query) -> list[list[Key]]:
        """Return under what the effect of each stage on each behavior is kept."""
        return [
            self.keys_of(identity, ("stage", method, query.intervention, m), query.behaviors) for m in query.members
        ]

    def found(self, keys: list[list[Key]], query: Query, needed: Collection[str] = _EFFECT) -> list[list[Entry | None]]:
        """Return what is kept of each stage and behavior, None where there is nothing that has what is ``needed``."""
        return [self._found(row, query.behaviors, needed) for row in keys]

    def _found(self, keys: list[Key], behaviors: Sequence[Behavior], needed: Collection[str]) -> list[Entry | None]:
        entries = [None if key.digest is None else self.entries.find(key.digest) for key in keys]
        return [
            entry if entry is not None and self._sound(entry, behavior, needed) else None
            for entry, behavior in zip(entries, behaviors, strict=True)
        ]

    def _sound(self, entry: Entry, behavior: Behavior, needed: Collection[str]) -> bool:
        """Return whether an answer can be made of an entry: every number has its form, and is one."""
        forms = dict.fromkeys(("per_step", "resets", "step_effect"), (self.history.length,))
        forms["example_effect"] = (len(behavior.examples),)
        examples = {"example_effect"} if behavior.per_example and "effect" in needed else set()
        return {*needed, *examples} <= entry.keys() and all(
            values.shape == forms.get(name, ()) and (name in _UNBOUNDED or bool(np.isfinite(values).all()))
            for name, values in entry.items()
        )

    def keep(self, keys: Sequence[Key], entries: Sequence[Entry]) -> None:
        """Keep an entry under each key that has a digest."""
        named = {key.digest: entry for key, entry in zip(keys, entries, strict=True) if key.digest is not None}
        if named:
            self.entries.keep(named)

    def observed(self, identity: Identity, behaviors: Sequence[Behavior]) -> NDArray[np.float64]:
        """Return (K,) each behavior of the run's end, read off it only where that was not done before.

        Raises:
            AadslError: one gives no numbers, or does not read the model that it is given.
        """
        keys = self.keys_of(identity, ("observed",), behaviors)
        values = {k: value for k, key in enumerate(keys) if (value := self._value(key)) is not None}
        missing = [k for k in range(len(keys)) if k not in values]
        state, readouts = final_readouts(self.history, [behaviors[k] for k in missing])
        for k, readout in zip(missing, readouts, strict=True):
            readout.require_reading(state)
            values[k] = np.array(float(readout.values(state).mean()))
        self.keep([keys[k] for k in missing], [{"observed": values[k]} for k in missing])
        return np.array([values[k] for k in range(len(keys))], dtype=np.float64)

    def _value(self, key: Key) -> NDArray[np.float64] | None:
        entry = None if key.digest is None else self.entries.find(key.digest)
        value = None if entry is None else entry.get("observed")
        return value if value is not None and value.shape == () and np.isfinite(value) else None

    def keys_of(self, identity: Identity, asked: tuple[Any, ...], behaviors: Sequence[Behavior]) -> list[Key]:
        """Return the key of each behavior."""
        for behavior in behaviors:
            self.digests.met(behavior.examples)
        common = identity.key(*asked)
        if common.digest is None:
            return [common] * len(behaviors)
        keys = []
        for behavior in behaviors:
            try:
                examples = self.digests.of(behavior.examples)
                keys.append(Key(fingerprint(common.digest, behavior.metric, examples, behavior.per_example)))
            except NoFingerprint as unknown:
                keys.append(Key(None, str(unknown)))
        return keys

    def _checkpoints(self, keys: Sequence[Key]) -> SweepCheckpoints:
        """Return where the sweeps for these entries are kept while they are computed."""
        return SweepCheckpoints(_stem(self.entries.folder, keys))


def _stem(folder: Path, keys: Sequence[Key]) -> Path | None:
    digests = [key.digest for key in keys if key.digest is not None]
    if len(digests) < len(keys):
        return None
    return folder / f"sweep-{hashlib.sha256(' '.join(digests).encode()).hexdigest()[:32]}"


def reasons(keys: Sequence[Key]) -> str:
    """Return why answers under these keys are not kept, empty where all are."""
    return "; ".join(dict.fromkeys(key.why for key in keys if key.digest is None))


def _row(answer: Effects, query: Query, stage: int) -> list[Entry]:
    """Return the entries of one stage, one a behavior."""
    row = []
    for k in range(len(query.behaviors)):
        entry: Entry = {"effect": answer.effect[stage, k]}
        if k in answer.example_effects:
            entry["example_effect"] = answer.example_effects[k][stage]
        if answer.step_effect is not None:
            entry["step_effect"] = answer.step_effect[:, k]
        if answer.growth is not None:
            entry["growth"] = answer.growth[k]
        if answer.size is not None:
            entry["size"] = answer.size[stage]
        if answer.disagreement is not None:
            entry["disagreement"] = answer.disagreement[stage, k]
        row.append({name: np.asarray(values, dtype=np.float64) for name, values in entry.items()})
    return row


def _assembled(rows: list[list[Entry]]) -> Effects:
    """Return the effects that :func:`_row` took apart."""

    def all_have(name: str) -> bool:
        return all(name in entry for row in rows for entry in row)

    def table(name: str) -> NDArray[np.float64]:
        return np.array([[entry[name] for entry in row] for row in rows])

    detailed = [k for k, entry in enumerate(rows[0]) if "example_effect" in entry]
    examples = {k: np.stack([row[k]["example_effect"] for row in rows]) for k in detailed}
    return Effects(
        table("effect"),
        examples,
        np.stack([entry["step_effect"] for entry in rows[0]], axis=1) if all_have("step_effect") else None,
        np.array([entry["growth"] for entry in rows[0]]) if all_have("growth") else None,
        table("disagreement") if all_have("disagreement") else None,
        np.array([row[0]["size"] for row in rows]) if all_have("size") else None,
    )
