"""``shares``: parts of what stages do together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aadsl.core.errors import AadslError
from aadsl.core.numbers import signed
from aadsl.language import Argument, Call, Inline, Positional, Reference
from aadsl.statements.answers import EACH, AnswerOutline
from aadsl.statements.question import QuestionStatement, asked_of, planned
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.studied import Studied
from aadsl.statements.vocabulary import given_options
from aadsl.study.question import Question
from aadsl.study.shapley import PERMUTATIONS, check_permutations, coalitions_of, is_exact, unions

if TYPE_CHECKING:
    import xarray as xr

EXACT = "retraining"
SHARES_OPTIONS = {"permutations": int}


@dataclass(frozen=True)
class SharesQuestion(Question):
    """What share has each stage in what they do together? Where they are too many, over so many ``permutations``."""

    permutations: int = PERMUTATIONS


@dataclass(frozen=True)
class Shares(QuestionStatement):
    """Divide what stages do together among them: parts that add up.

    shares source on backdoor
    shares of window on digits under restart()
    shares of window on digits with permutations=50

    Effects of skipping stages do not add up to the effect of skipping all of them, for what one does depends on the
    others. The share of a stage is its Shapley value: what it adds to the stages before it, averaged over all orders
    of the stages. Shares add up to the effect of all stages together. These may hold all steps; what is left then is
    the untrained model.

    Up to six stages every combination is trained without, and shares are exact. Of more, 20 random orders are taken,
    or as many as `permutations` says, an even number; each share then has a 90% interval, and they add up all the same.
    `under` names the intervention, skip unless given. `explain` says how long it takes; `plot waterfall` draws them.
    """

    stages: tuple[Reference | Inline, ...]
    behaviors: tuple[Reference, ...]
    under: Call | None
    arguments: tuple[Argument | Positional, ...] | None

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        given = given_options(scope, "shares", self.arguments or (), SHARES_OPTIONS)
        asked = asked_of(scope, self.stages, self.behaviors, None, self.under, EXACT, all_steps=True)
        permutations = PERMUTATIONS if given is None else given.get("permutations", PERMUTATIONS)
        try:
            check_permutations(permutations)
        except AadslError as error:
            scope.repeat((self.arguments or (self,))[0].span, error)
            return None
        if asked is None or given is None:
            return None
        if len(asked.stages) == 1:
            message = f'"{asked.stages[0]}" is one stage, and shares are parts of a whole'
            scope.report(self.stages[0].span, message, "name a family, or several stages; or ask for its effect: score")
            return None
        return SharesQuestion(**vars(asked), permutations=permutations)

    def expected_answer(self, scope: Scope, asked: Question) -> AnswerOutline:
        """Return what the answer will hold: shares beside the effects, and nothing of single examples."""
        answer = super().expected_answer(scope, asked)
        return replace(answer, variables=answer.variables - {EACH} | {"share", "without"}, each=frozenset())

    def plan(self, study: Studied, asked: Question) -> str:
        """Return how many runs without stages that takes, and what they cost."""
        count, permutations = len(asked.stages), _permutations(asked)
        members = np.stack([np.asarray(study.stages[name], dtype=bool) for name in asked.stages])
        runs, _ = unions(members, coalitions_of(count, permutations))
        branch = study.branch()
        names = branch.family("combination", dict(enumerate(runs)))
        orders = "all orders" if is_exact(count, permutations) else f"{permutations} random orders"
        retrainings = "1 retraining" if len(runs) == 1 else f"{len(runs)} retrainings"
        said = f"shares of {count} stages over {orders}: {retrainings} without some of them"
        return f"{said}\n{planned(branch, replace(asked, stages=names))}"

    def run(self, result: Result, asked: Question) -> None:
        """Train without the combinations, and list the shares."""
        dataset = result.study.shares(
            list(asked.stages),
            list(asked.behaviors),
            intervention=asked.intervention,
            permutations=_permutations(asked),
            progress=result.progress,
        )
        result.answer(dataset, asked)
        result.say("\n\n".join(listed(dataset.sel(behavior=name)) for name in dataset["behavior"].values))


def _permutations(asked: Question) -> int:
    assert isinstance(asked, SharesQuestion)  # as `ask` makes it
    return asked.permutations


def listed(one: xr.Dataset) -> str:
    """Return the shares in one behavior as text, and their sum."""
    unit = f" {one['unit'].item()}".rstrip()
    together = f"together: {signed(float(one['together']), 4)}{unit}, the sum of the shares"
    return "\n".join([f"shares in {one['behavior'].item()}:", *_lines(one), together])


def _lines(one: xr.Dataset) -> Iterator[str]:
    width = max(len(str(name)) for name in one["stage"].values)
    columns = (one[column].values for column in ("stage", "share", "share_low", "share_high", "exact", "trust"))
    for name, share, low, high, exact, trust in zip(*columns, strict=True):
        interval = "exact" if exact else f"90% interval {signed(low, 4)} to {signed(high, 4)}"
        doubt = ", low trust" if trust == "low" else ""
        yield f"  {name:<{width}}  {signed(share, 4)}  {interval}{doubt}"
