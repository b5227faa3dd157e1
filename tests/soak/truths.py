"""What is true of the runs: trained by hand, and asked once of a recording that nothing befell, in clean processes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.children import alone
from tests.soak.kinds import STEPS, Floats, Question, Weights, ask, by_hand, log_likelihood, record

NEAR = 1e-6  # float32 read by hand


@dataclass
class Truths:
    """Truths by what they are about, each found out once."""

    _known: dict[Any, Any] = field(default_factory=dict)

    def weights(self, kind: str) -> list[Weights]:
        """Return the weights before each step, and at the end of the longest run."""
        return self._once(("weights", kind), lambda told, step: by_hand(kind, STEPS))  # type: ignore[no-any-return]

    def model(self, kind: str, length: int, asked: Question) -> Weights:
        """Return the weights at the end of a run without the stage."""
        skipped = range(asked.first, asked.last)
        key = ("model", kind, length, asked.first, asked.last)
        return self._once(key, lambda told, step: by_hand(kind, length, skipped)[-1])  # type: ignore[no-any-return]

    def effect(self, kind: str, length: int, asked: Question) -> Floats:
        """Return the effect of the stage, in the bits of an answer that nothing befell."""
        key = ("effect", kind, length, asked)
        if key not in self._known:
            value: Floats = self._once(key, lambda told, step: undisturbed(kind, length, asked, told))
            if asked.estimator == "retraining":
                without = self.model(kind, length, asked)
                hand = log_likelihood(kind, self.weights(kind)[length]) - log_likelihood(kind, without)
                assert abs(float(value[0, 0]) - hand) < NEAR, f"{key}: {value}, by hand {hand}"
        return self._known[key]  # type: ignore[no-any-return]

    def _once(self, key: Any, work: Any) -> Any:
        if key not in self._known:
            outcome = alone(work)
            assert outcome.how == "done", outcome
            self._known[key] = outcome.value
        return self._known[key]


def undisturbed(kind: str, length: int, asked: Question, told: int) -> Floats:
    """Record a run and ask, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        record(kind, Path(folder) / "run", length, told)
        return ask(kind, Path(folder) / "run", asked)[1]
