"""What an answer holds, known before it is computed: what a plot or a save may refer to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

EACH = "example_effect"


@dataclass(frozen=True)
class AnswerOutline:
    """The stages, behaviors and variables of a result.

    Attributes:
        stages: names of its stages; none where single steps were asked about.
        behaviors: names of its behaviors.
        variables: names of its variables and coordinates.
        each: the behaviors with effects on single examples.
    """

    stages: frozenset[str]
    behaviors: frozenset[str]
    variables: frozenset[str] = frozenset()
    each: frozenset[str] = frozenset()

    @classmethod
    def of(cls, dataset: Any) -> AnswerOutline:
        """Return what a computed answer holds."""
        behaviors = labels(dataset, "behavior")
        each = frozenset[str]()
        if EACH in dataset:
            known = np.isfinite(dataset[EACH]).any([d for d in dataset[EACH].dims if d != "behavior"])
            each = frozenset(name for name in behaviors if bool(known.sel(behavior=name)))
        return cls(labels(dataset, "stage"), behaviors, frozenset(map(str, dataset.variables)), each)

    def holds(self, stages: Iterable[str], behaviors: Iterable[str]) -> bool:
        """Return whether it is about all of these."""
        return self.stages >= {*stages} and self.behaviors >= {*behaviors}

    def variables_on(self, behaviors: Collection[str]) -> frozenset[str]:
        """Return the variables that say something of these behaviors, or of any where there are none."""
        said = self.each & {*behaviors} if behaviors else self.each
        return self.variables if said else self.variables - {EACH}


def labels(dataset: Any, dimension: str) -> frozenset[str]:
    """Return the labels along one dimension of a result; none where it has no such dimension."""
    return frozenset(map(str, dataset[dimension].values)) if dimension in dataset.dims else frozenset()
