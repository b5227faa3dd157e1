"""``stages``: name a family of stages at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from aadsl.language import Expression, Literal, Name
from aadsl.language.grouping import LIMIT, Mask, grouped
from aadsl.statements.base import Action, Definition
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.stage import selected
from aadsl.statements.steps import OverSteps

LISTED = 12
"""Members that are named when a family is defined."""


@dataclass(frozen=True)
class Stages(Definition):
    """Name a family of stages: one for each value of a coordinate, or windows of equal length.

    stages source by tag
    stages window every 50 steps within clean

    The members are source[badnet], source[clean] …, and window[0:50], window[50:100] …; a question about a family
    asks about each member. `within` takes any selection of steps.
    """

    def defined(self, scope: Scope, members: dict[str, Mask]) -> Action | None:
        """Define the family from the masks of its members."""
        if not members:
            scope.report(self.span, f'the family "{self.name.text}" is empty', "no step is left")
            return None
        if len(members) > LIMIT:
            hint = "take another coordinate, larger windows, or select with `within`"
            scope.report(self.span, f'"{self.name.text}" would have more than {LIMIT} members', hint)
            return None
        scope.define_stages(self.name, {f"{self.name.text}[{key}]": mask for key, mask in members.items()})
        return partial(self.run, members=members)

    def run(self, result: Result, members: dict[str, Mask]) -> None:
        """Define the family on the study."""
        result.study.family(self.name.text, members)
        listed = [f"{key} ({mask.sum()})" for key, mask in members.items()]
        if len(listed) > LISTED:
            listed = [*listed[: LISTED - 1], f"{len(listed) - LISTED + 1} more; show stages lists them"]
        result.say(f"stages {self.name.text}: {', '.join(listed)}")


@dataclass(frozen=True)
class StagesBy(Stages):
    """``stages source by tag``."""

    coordinate: Name
    within: Expression | None

    def define(self, scope: Scope) -> Action | None:
        """Group the steps by the coordinate's values; steps without a value belong to no member."""
        inside = selected(scope, self.within)
        if inside is None:
            return None
        column = OverSteps(scope).varying(self.coordinate)
        return None if column is None else self.defined(scope, grouped(column, inside))


@dataclass(frozen=True)
class StagesEvery(Stages):
    """``stages window every 50 steps``."""

    count: Literal
    word: str
    within: Expression | None

    def define(self, scope: Scope) -> Action | None:
        """Cut the steps into windows; windows that `within` empties are left out."""
        inside = selected(scope, self.within)
        count = int(self.count.value)
        if count < 1:
            scope.report(self.count.span, "a window needs at least one step")
            return None
        if inside is None:
            return None
        length = len(inside)
        windows = np.arange(length) // count
        present = np.unique(windows[inside])
        members = {}
        for k in present.tolist()[: LIMIT + 1]:
            start, stop = k * count, min(length, (k + 1) * count)
            mask = np.zeros(length, dtype=bool)
            mask[start:stop] = inside[start:stop]
            members[f"{start}:{stop}"] = mask
        return self.defined(scope, members)
