"""Acts at random on a few runs, and what must be true after each."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.soak.children import CALM, Blow, Child, Outcome, Plant, alone, nothing
from tests.soak.damage import damaged
from tests.soak.kinds import KINDS, STEPS, TOLD, Question, ask, record, weights_of
from tests.soak.saves import FORMATS, fault_of, save
from tests.soak.truths import Truths

RUNS = 3  # runs that exist at a time
ACTS = {"record": 4, "score": 4, "score twice at once": 2, "damage": 3, "save": 3}


@dataclass
class RecordedRun:
    """A run, and what was told of it.

    Attributes:
        folder: where it is; kind: what it trains.
        safe: how many steps were told as kept.
        saved: what each file that was told as written holds, by its ending: a question, and how long the run was then.
        blows: how often a process at work on it was ended.
    """

    folder: Path
    kind: str
    safe: int = 0
    saved: dict[str, tuple[Question, int]] = field(default_factory=dict)
    blows: int = 0

    @property
    def cache(self) -> Path:
        """Where its answers are kept."""
        return Path(f"{self.folder}.effects")


class World:
    """Runs in a folder, to which things happen.

    Args:
        folder: where to work.
        seed: of all that is drawn.
        plant: breaks something in every process, to see that it is found.

    Attributes:
        acts: how many there were; counts: how often each ended in which way.
        faults: what was found.
    """

    def __init__(self, folder: Path, seed: int, plant: Plant = nothing) -> None:
        self._folder, self._dice, self._plant = folder, random.Random(seed), plant
        self._truths, self._made, self.acts = Truths(), 0, 0
        self.runs: list[RecordedRun] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.faults: list[str] = []

    def act(self) -> None:
        """Let one thing happen, and look at what came of it."""
        self.acts += 1
        if len(self.runs) < RUNS:
            kind = self._dice.choice(list(KINDS))
            self.runs.append(RecordedRun(self._folder / f"run-{self._made}", kind))
            self._made += 1
            self._record(self.runs[-1])
            return
        run = self._dice.choice(self.runs)
        name = self._dice.choices(list(ACTS), list(ACTS.values()))[0] if run.safe >= 4 else "record"
        {
            "record": self._record,
            "score": self._score,
            "score twice at once": self._score_twice,
            "damage": self._damage,
            "save": self._save,
        }[name](run)

    def settle(self) -> None:
        """Let every run come to its end undisturbed: it is answered, and nothing half-written is left."""
        for run in self.runs:
            self._do("record, at last", run, lambda told, step: record(run.kind, run.folder, STEPS, told))  # noqa: B023
            run.safe = STEPS
            self._look_at(run)
            asked = Question(2, 5, "retraining")
            self._answered("score, at last", run, asked, alone(self._asking(run, asked), plant=self._plant))
            left = [str(path) for path in run.folder.glob(".*.tmp*")]
            if left:
                self._fault("record, at last", run, f"left half-written: {left}")

    def _record(self, run: RecordedRun) -> None:
        stop = self._dice.choice([8, 16, STEPS, STEPS])
        if run.safe >= STEPS:  # begin another one in its place
            self.runs.remove(run)
            return
        blow = Blow.drawn(self._dice, self._dice.random() < 0.7)
        outcome = self._do("record", run, lambda told, step: record(run.kind, run.folder, stop, told), blow)
        told = [number for (number,) in TOLD.iter_unpack(outcome.told)]
        # The first number is where it goes on: what comes after it in the folder is given up.
        run.safe = max(told[1:], default=min(run.safe, *told) if told else run.safe)
        if told and run.safe < told[0]:
            run.safe = told[0]
        self._look_at(run)

    def _look_at(self, run: RecordedRun) -> None:
        """Whatever was told as kept is there, and is what training by hand gives."""
        if not run.safe:
            return
        outcome = self._do("read", run, lambda told, step: weights_of(run.folder))
        if outcome.how != "done":
            self._fault("read", run, f"{run.safe} steps were told as kept, and: {outcome.said}")
            return
        numbers, states = outcome.value
        if len(numbers) < run.safe or numbers != list(range(len(numbers))):
            self._fault("read", run, f"{run.safe} steps were told as kept, these are there: {numbers}")
        truth = self._truths.weights(run.kind)
        for step, weights in states.items():
            if not all(torch.equal(weights[name], value) for name, value in truth[step].items()):
                self._fault("read", run, f"the state before step {step} is another one")

    def _question(self, run: RecordedRun) -> Question:
        first = self._dice.randrange(0, run.safe - 2)
        return Question(first, first + self._dice.choice([1, 2]), self._dice.choice(["retraining", "first_order"]))

    def _asking(self, run: RecordedRun, asked: Question) -> Any:
        return lambda told, step: ask(run.kind, run.folder, asked, step)

    def _score(self, run: RecordedRun) -> None:
        asked, blow = self._question(run), Blow.drawn(self._dice, self._dice.random() < 0.5)
        self._answered("score", run, asked, self._do("score", run, self._asking(run, asked), blow))

    def _score_twice(self, run: RecordedRun) -> None:
        asked = self._question(run)
        blows = [CALM, Blow.drawn(self._dice, self._dice.random() < 0.5)]
        children = [Child(self._asking(run, asked), blow, self._plant) for blow in blows]
        for child, blow in zip(children, blows, strict=True):
            outcome = child.end()
            self._count("score twice at once", run, outcome, blow)
            self._answered("score twice at once", run, asked, outcome)

    def _answered(self, act: str, run: RecordedRun, asked: Question, outcome: Outcome) -> None:
        """An answer is the truth to the last bit."""
        if outcome.how != "done":
            return
        length, effect = outcome.value
        truth = self._truths.effect(run.kind, length, asked)
        if not (effect == truth).all():
            self._fault(act, run, f"{asked} of {length} steps: {effect.item()!r}, and the truth is {truth.item()!r}")

    def _damage(self, run: RecordedRun) -> None:
        """A damaged file is refused, or does not matter; what lies beside a run is computed again."""
        files = sorted([*run.folder.glob("*.nc"), *run.cache.glob("*.nc")])
        others = sorted(path for other in self.runs if other is not run for path in other.folder.glob("*.nc"))
        victim = self._dice.choice(files)
        whole = victim.read_bytes()
        how = damaged(victim, others, self._dice)
        asked = self._question(run)
        outcome = self._do(f"score, a file {how}", run, self._asking(run, asked))
        self._answered(f"score, a file {how}", run, asked, outcome)
        if victim.parent == run.folder:
            victim.write_bytes(whole)
        elif outcome.how == "refused":
            self._fault("damage", run, f"an answer was lost with {victim.name}: {outcome.said}")
        self._look_at(run)

    def _save(self, run: RecordedRun) -> None:
        """A file that was told as saved stays, until another one is there in its place."""
        asked, ending = self._question(run), self._dice.choice(FORMATS)
        asked = Question(asked.first, asked.last, "retraining")
        path = run.folder.parent / f"{run.folder.name}{ending}"
        blow = Blow.drawn(self._dice, self._dice.random() < 0.5)
        outcome = self._do(f"save {ending}", run, lambda told, step: save(run.kind, run.folder, asked, path), blow)
        before, now = run.saved.get(ending), (asked, self._length(run))
        may_be = [now] if outcome.how == "done" else [one for one in (before, now) if one]
        if outcome.how == "done" or before is not None or path.exists():
            found = self._do("read what was saved", run, lambda told, step: self._fault_of(run, path, may_be))
            if found.how != "done" or found.value:
                self._fault(f"save {ending}", run, f"{outcome.how}, and {path.name}: {found.value or found.said}")
        if outcome.how == "done":
            run.saved[ending] = now
        elif path.exists():
            path.unlink()  # it may be either
            run.saved.pop(ending, None)

    def _length(self, run: RecordedRun) -> int:
        """Return how many steps a run has, told by a process of its own."""
        return len(alone(lambda told, step: weights_of(run.folder)[0]).value or ())

    def _fault_of(self, run: RecordedRun, path: Path, may_be: list[tuple[Question, int]]) -> str:
        truths = [(self._truths.effect(run.kind, n, q), self._truths.model(run.kind, n, q)) for q, n in may_be]
        return fault_of(path, truths)

    def _do(self, act: str, run: RecordedRun, work: Any, blow: Blow = CALM) -> Outcome:
        outcome = alone(work, blow, self._plant)
        self._count(act, run, outcome, blow)
        return outcome

    def _count(self, act: str, run: RecordedRun, outcome: Outcome, blow: Blow) -> None:
        befallen = "" if blow.what == "none" else f", {blow.what}"
        self.counts[act + befallen, outcome.how] += 1
        run.blows += blow.what != "none"
        if outcome.how == "raw":
            self._fault(act + befallen, run, outcome.said)
        elif outcome.how == "refused" and blow.what == "none" and "a file" not in act:
            self._fault(act, run, f"nothing befell it, and it was refused: {outcome.said}")

    def _fault(self, act: str, run: RecordedRun, what: str) -> None:
        self.faults.append(f"{act}: {run.kind} at {run.folder.name}: {what}")
