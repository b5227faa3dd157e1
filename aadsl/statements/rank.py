"""``rank``: the steps or stages with the largest effects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aadsl.core.aligned import WIDEST
from aadsl.core.numbers import signed
from aadsl.language import Call, Literal, Node, Reference
from aadsl.statements.answers import STEPS, AnswerOutline
from aadsl.statements.hints import way_to_confirmed
from aadsl.statements.overlap import overlap_in_words
from aadsl.statements.question import QuestionStatement, asked_of, method_of
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.vocabulary import table
from aadsl.study.question import DEFAULT_ESTIMATOR, Question

if TYPE_CHECKING:
    import xarray as xr

DEFAULT_TOP = 10


@dataclass(frozen=True)
class EveryStep(Node):
    """``steps``: each step is asked about by itself."""

    word: str


@dataclass(frozen=True)
class Rank(QuestionStatement):
    """List the steps, or the stages, with the largest effects, whichever their sign.

    rank steps on backdoor top 10
    rank source on digits top 3 using first_order()

    Ten are listed unless `top` says otherwise. Steps are estimated, and the largest confirmed by exact answers as far
    as the budget goes; stages are answered as by `score`. Each number says which it is.
    """

    subject: EveryStep | tuple[Reference, ...]
    behaviors: tuple[Reference, ...]
    top: Literal | None
    using: Call | None
    under: Call | None

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        if self.top is not None and int(self.top.value) < 1:
            scope.report(self.top.span, "`top` needs a number from 1 on")
        stages = () if isinstance(self.subject, EveryStep) else self.subject
        asked = asked_of(scope, stages, self.behaviors, self.using, self.under, of_steps=not stages)
        chooses = asked is not None and isinstance(asked.estimator, table("estimator")[DEFAULT_ESTIMATOR])
        if asked is None or stages or self.using is None or chooses or method_of(asked.estimator).additive:
            return asked
        additive = [name for name, member in table("estimator").items() if member.additive]
        message = f"{self.using.name.text} gives no effects of single steps"
        scope.report(self.using.span, message, f"take one of {', '.join(additive)}; or rank a family: stages …")
        return None

    def expected_answer(self, scope: Scope, asked: Question) -> AnswerOutline:
        """Return what the answer will hold: of single steps only their effects."""
        answer = super().expected_answer(scope, asked)
        if isinstance(self.subject, EveryStep):
            return replace(
                answer, variables=frozenset({STEPS, *scope.steps.names_in_answers.values()}), each=frozenset()
            )
        return answer

    def run(self, result: Result, asked: Question) -> None:
        """Compute all effects, keep them, and list the largest."""
        top = DEFAULT_TOP if self.top is None else int(self.top.value)
        dataset = result.study.rank(**asked.arguments, top=top, progress=result.progress)
        result.answer(dataset, asked)
        result.say(listing(dataset, "stage" if asked.stages else "step"))
        if overlap := overlap_in_words(dataset):
            result.say(overlap)
        estimated = dataset["ranked"].where(~dataset["ranked_exact"]).to_numpy() if not asked.stages else np.array([])
        steps = sorted({int(step) for step in estimated.ravel() if step == step})
        if steps:
            result.say(way_to_confirmed(result, steps, asked))


def listing(dataset: xr.Dataset, axis: str) -> str:
    """Return the ranks as text, one block a behavior; each number says whether it is exact."""
    blocks = []
    for name in dataset["behavior"].values:
        one = dataset.sel(behavior=name)
        columns = (one[column].values for column in ("rank", "ranked", "ranked_effect", "ranked_exact", "ranked_trust"))
        widest = max(12, *(min(len(str(label)), WIDEST) for label in one["ranked"].values))
        lines = [
            f"{rank:>4}  {axis} {label!s:<{widest}} {signed(effect, 4)}  {how}"
            for rank, label, effect, exact, trust in zip(*columns, strict=True)
            for how in ["exact" if exact else f"estimate, {trust} trust"]
        ]
        blocks.append("\n".join([f"largest effects on {name}:", *lines]))
    if not int(dataset["ranked_exact"].sum()):
        blocks.append("none of them was confirmed by an exact answer: the budget does not cover that")
    return "\n\n".join(blocks)
