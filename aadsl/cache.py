"""Effects that were computed before, kept beside the trajectory under a digest of everything they depend on.

The key of an entry covers the recorded run, the data its batches used, the model's code and its weights that were not
trained, the loss, the behavior and its examples, the estimator, the intervention, the stage, the device's type, the
engine's own code and PyTorch's version. Whatever of it changes, the key is another one, so nothing is ever out of date.

An entry is a group in a sealed netCDF file that appears by renaming: a killed write leaves nothing, a damaged file is
passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import aadsl
from aadsl.errors import AadslError
from aadsl.estimators import Answer, Behavior, Estimator, Question
from aadsl.estimators.additive import Additive, StepEffects
from aadsl.examples import Examples
from aadsl.fingerprint import NoFingerprint, fingerprint, model_fingerprint
from aadsl.history import History
from aadsl.interventions import Intervention
from aadsl.propagation import Progress
from aadsl.trajectory.files import commit, opened

Entry = dict[str, NDArray[np.float64]]
ENGINE = (
    *("behaviors", "dynamics", "estimators", "interventions", "propagation", "verification"),
    *("examples.py", "history.py", "training_data.py"),
)


class EntryStore:
    """Named sets of arrays in the files of one folder, and in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        self._read: set[str] = set()

    def find(self, key: str) -> Entry | None:
        """Return an entry, None where there is none."""
        if key not in self._entries:
            self._look_for_new_files()
        return self._entries.get(key)

    def keep(self, entries: Mapping[str, Entry]) -> None:
        """Add entries, in one file. A folder that cannot be written is no reason to lose an answer."""
        self._entries |= entries
        name = f"{hashlib.sha256(' '.join(sorted(entries)).encode()).hexdigest()[:32]}.nc"
        try:
            self.folder.mkdir(exist_ok=True)
            commit(self.folder / name, {"title": "effects, by the digest of what they depend on"}, _writer(entries))
            self._read.add(name)
        except OSError:
            pass

    def _look_for_new_files(self) -> None:
        for path in sorted(self.folder.glob("[0-9a-f]*.nc")) if self.folder.is_dir() else ():
            if path.name not in self._read:
                self._read.add(path.name)
                try:
                    with opened(path) as dataset:
                        self._entries |= {
                            key: {name: np.asarray(v[...], dtype=np.float64) for name, v in group.variables.items()}
                            for key, group in dataset.groups.items()
                        }
                except (AadslError, OSError):  # damaged, or gone since: it will be computed again
                    continue


def _writer(entries: Mapping[str, Entry]) -> Any:
    def write(dataset: Any) -> None:
        for key, entry in entries.items():
            group = dataset.createGroup(key)
            for name, values in entry.items():
                dimensions = [f"{name}_{axis}" for axis in range(values.ndim)]
                for dimension, size in zip(dimensions, values.shape, strict=True):
                    group.createDimension(dimension, size)
                group.createVariable(name, np.float64, dimensions)[...] = values

    return write


@dataclass
class Effects:
    """Answers of estimators about one run, computed once.

    Args:
        history: the run.
        folder: where entries are kept; by default beside the trajectory.
        before: called before anything is computed; what it raises keeps that from happening.
        mark: keeps answers apart from those that have another mark.
    """

    history: History
    folder: Path | None = None
    before: Callable[[Progress], Any] = lambda _: None
    mark: str = ""

    @cached_property
    def store(self) -> EntryStore:
        """The entries."""
        return EntryStore(self.folder or Path(f"{self.history.trajectory.path}.effects"))

    def step_effects(
        self, method: Additive, behaviors: Sequence[Behavior], intervention: Intervention, progress: Progress
    ) -> StepEffects:
        """Return what ``method.step_effects`` gives, sweeping only for behaviors that were not asked about before."""
        keys = self._keys(("steps", method, intervention), behaviors)
        found = [None if key is None else self.store.find(key) for key in keys]
        missing = [k for k, entry in enumerate(found) if entry is None]
        if missing:
            self.before(progress)
            new = [behaviors[k] for k in missing]
            with self.history.standing.kept_as(self._stem([keys[k] for k in missing])):
                swept = method.step_effects(self.history, new, intervention, progress)
            fresh = [{name: part[..., i] for name, part in swept._asdict().items()} for i in range(len(missing))]
            for k, entry in zip(missing, fresh, strict=True):
                found[k] = entry
            self._keep([keys[k] for k in missing], fresh)
        entries = [entry for entry in found if entry is not None]
        return StepEffects(*(np.stack([e[name] for e in entries], axis=-1) for name in StepEffects._fields))

    def _stem(self, keys: Sequence[str | None]) -> Path | None:
        """Return how the files begin in which interrupted sweeps for these entries stand."""
        if None in keys:
            return None
        return self.store.folder / f"standing-{hashlib.sha256(' '.join(map(str, keys)).encode()).hexdigest()[:32]}"

    def answer(self, method: Estimator, question: Question, progress: Progress) -> Answer:
        """Return what ``method.answer`` gives, computing only for stages that were not asked about before.

        Exact answers are kept stage by stage, so that what an interrupted run of retrainings had done is not lost.
        """
        keys = [self._keys(("stage", method, question.intervention, m), question.behaviors) for m in question.members]
        rows = [[None if key is None else self.store.find(key) for key in row] for row in keys]
        missing = [s for s, row in enumerate(rows) if None in row]
        if missing:
            self.before(progress)
        portions = [[s] for s in missing] if method.exact else [missing] if missing else []
        parts = _Parts(progress, len(portions))
        for stages in portions:
            part = replace(question, members=question.members[stages])
            with self.history.standing.kept_as(self._stem([key for s in stages for key in keys[s]])):
                answer = method.answer(self.history, part, parts)
            parts.end_part()
            fresh = [_row(answer, question, i) for i in range(len(stages))]
            for s, row in zip(stages, fresh, strict=True):
                rows[s] = list(row)
            self._keep([key for s in stages for key in keys[s]], [entry for row in fresh for entry in row])
        return _assembled([[entry for entry in row if entry is not None] for row in rows])

    def known(self, method: Estimator, question: Question) -> bool:
        """Return whether the answer is here already."""
        if isinstance(method, Additive):
            keys = self._keys(("steps", method, question.intervention), question.behaviors)
            if all(key is not None and self.store.find(key) is not None for key in keys):
                return True
        rows = [self._keys(("stage", method, question.intervention, m), question.behaviors) for m in question.members]
        return all(key is not None and self.store.find(key) is not None for row in rows for key in row)

    def key(self, what: str) -> str | None:
        """Return the key of something that depends on the run alone; None where that has no fingerprint."""
        try:
            return fingerprint(self._run(), what)
        except NoFingerprint:
            return None

    def remember(self, key: str | None) -> None:
        """Keep that something is so."""
        self._keep([key], [{"so": np.ones(1)}])

    def remembers(self, key: str | None) -> bool:
        """Return whether that was kept."""
        return key is not None and self.store.find(key) is not None

    def _keys(self, asked: tuple[Any, ...], behaviors: Sequence[Behavior]) -> list[str | None]:
        """Return the key of each behavior; None where something has no fingerprint, so that nothing is kept."""
        try:
            common = fingerprint(self._run(), *asked, *([self.mark] if self.mark else []))
        except NoFingerprint:
            return [None] * len(behaviors)
        keys: list[str | None] = []
        for behavior in behaviors:
            try:
                keys.append(fingerprint(common, behavior.metric, behavior.examples, behavior.per_example))
            except NoFingerprint:
                keys.append(None)
        return keys

    def _run(self) -> tuple[str, ...]:
        """Return the digests of the recorded run and of all that replaying it uses."""
        history = self.history
        objective = history.objective
        loaded = frozenset([*objective.parameters.names, *history.trajectory.buffers])
        return (
            history.trajectory.digest,
            model_fingerprint(objective.model, loaded),
            fingerprint(objective.loss),
            fingerprint(*self._used),
            history.device.type,
            engine_digest(),
        )

    @cached_property
    def _used(self) -> list[Examples]:
        """The examples that each run used, each once; none where the batches themselves were recorded."""
        trajectory = self.history.trajectory
        used = []
        for job, part in zip(trajectory.jobs, self.history.data.parts, strict=True):
            if part is not None:
                batches = (trajectory.batch_indices(step) for step in range(job.start, job.stop))
                known = [batch for batch in batches if batch is not None]
                used.append(part.select(np.unique(np.concatenate([np.empty(0, np.int64), *known]))))
        return used

    def _keep(self, keys: Sequence[str | None], entries: Sequence[Entry]) -> None:
        named = {key: entry for key, entry in zip(keys, entries, strict=True) if key is not None}
        if named:
            self.store.keep(named)


@cache
def engine_digest() -> str:
    """Return the digest of everything in aadsl that computes effects, and of PyTorch's version."""
    digest = hashlib.sha256(f"{aadsl.__version__} {torch.__version__}".encode())
    package = Path(__file__).parent
    for name in ENGINE:
        path = package / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _row(answer: Answer, question: Question, stage: int) -> list[Entry]:
    """Return the entries of one stage, one a behavior."""
    row = []
    for k in range(len(question.behaviors)):
        entry: Entry = {"effect": answer.effect[stage, k]}
        if k in answer.example_effects:
            entry["example_effect"] = answer.example_effects[k][stage]
        if answer.step_effect is not None:
            entry["step_effect"] = answer.step_effect[:, k]
        if answer.growth is not None:
            entry["growth"] = answer.growth[k]
        if answer.disagreement is not None:
            entry["disagreement"] = answer.disagreement[stage, k]
        row.append({name: np.asarray(values, dtype=np.float64) for name, values in entry.items()})
    return row


def _assembled(rows: list[list[Entry]]) -> Answer:
    """Return the answer that :func:`_row` took apart."""

    def all_have(name: str) -> bool:
        return all(name in entry for row in rows for entry in row)

    def table(name: str) -> NDArray[np.float64]:
        return np.array([[entry[name] for entry in row] for row in rows])

    detailed = [k for k, entry in enumerate(rows[0]) if "example_effect" in entry]
    examples = {k: np.stack([row[k]["example_effect"] for row in rows]) for k in detailed}
    return Answer(
        table("effect"),
        examples,
        np.stack([entry["step_effect"] for entry in rows[0]], axis=1) if all_have("step_effect") else None,
        np.array([entry["growth"] for entry in rows[0]]) if all_have("growth") else None,
        table("disagreement") if all_have("disagreement") else None,
    )


@dataclass
class _Parts:
    """The progress of several parts as one: those to come are guessed to be as long as the present one."""

    progress: Progress
    left: int
    done: int = 0
    length: int = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        self.length = total
        self.progress(what, self.done + done, self.done + total * self.left)

    def end_part(self) -> None:
        """Go on to the next part."""
        self.done, self.left = self.done + self.length, self.left - 1
