"""What ``score``, ``verify`` and ``rank`` have in common: stages, behaviors, an estimator and an intervention."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from aadsl.core.absence import is_left_out
from aadsl.language import Call, Inline, Reference
from aadsl.statements.answers import EACH, AnswerOutline, keep_newest
from aadsl.statements.base import Action, Statement
from aadsl.statements.inline import named_stages
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.studied import Studied
from aadsl.statements.vocabulary import build, table
from aadsl.study.question import DEFAULT_ESTIMATOR, DEFAULT_INTERVENTION, Question

if TYPE_CHECKING:
    from aadsl.estimators import Estimator


class QuestionStatement(Statement):
    """A statement that asks for effects. ``ask`` gives what it asks for; None after a mistake."""

    def ask(self, scope: Scope) -> Question | None:
        """Resolve the names without computing anything."""
        raise NotImplementedError

    def run(self, result: Result, asked: Question) -> None:
        """Compute the answer."""
        raise NotImplementedError

    def plan(self, study: Studied, asked: Question) -> str:
        """Return what answering would compute and what it costs, in words."""
        return planned(study, asked)

    def expected_answer(self, scope: Scope, asked: Question) -> AnswerOutline:
        """Return what the answer will hold: the effects of stages, unless a statement says otherwise."""
        each = frozenset(name for name in asked.behaviors if scope.behaviors[name].per_example)
        stepped = frozenset(name for name in asked.behaviors if scope.behaviors[name].differentiable)
        variables = {"effect", "member", *scope.steps.names_in_answers.values(), *([EACH] if each else [])}
        return AnswerOutline(frozenset(asked.stages), frozenset(asked.behaviors), frozenset(variables), each, stepped)

    def resolve(self, scope: Scope) -> Action | None:
        """Check the question and announce its answer to the statements below."""
        asked = self.ask(scope)
        if asked is None:
            scope.question_failed = True
            return None
        answer = self.expected_answer(scope, asked)
        keep_newest(scope.answers, answer)
        keep_newest(scope.asked, answer)
        return partial(self.run, asked=asked)


def planned(study: Studied, asked: Question) -> str:
    """Return what answering a question would compute and what it costs, in words."""
    return str(study.plan(**{"stages": [], **asked.arguments}))


def asked_of(
    scope: Scope,
    stages: Sequence[Reference | Inline],
    behaviors: Sequence[Reference],
    using: Call | None,
    under: Call | None,
    default: str = DEFAULT_ESTIMATOR,
    of_steps: bool = False,
    all_steps: bool = False,
    without_gradient: str = "ask for the exact answer: using retraining()",
) -> Question | None:
    """Resolve the parts of a question; report every mistake and return None where there is one.

    ``of_steps``: effects of single steps are asked for, which are estimated whatever the estimator.
    ``all_steps``: the stages may hold every step. ``without_gradient``: the way out where an estimate needs a gradient.
    """
    mistakes = len(scope.problems)
    if not scope.needs_study(scope.span):
        return None
    stages = named_stages(scope, stages)
    stage_names, behavior_names = scope.all_names("stage", stages), scope.all_names("behavior", behaviors)
    estimator = default if using is None else build(scope, using, "estimator")
    intervention = DEFAULT_INTERVENTION if under is None else build(scope, under, "intervention")
    left_out = is_left_out(DEFAULT_INTERVENTION if under is None else under.name.text)
    for reference in stages if left_out and not all_steps else ():
        _refuse_everything(scope, reference)
    for reference in behaviors:
        if estimator is not None and _needs_gradient(method_of(estimator), of_steps):
            _refuse_without_gradient(scope, reference, without_gradient)
    if stage_names is None or behavior_names is None or len(scope.problems) > mistakes:
        return None
    assert estimator is not None and intervention is not None  # else a mistake was reported
    return Question(stage_names, behavior_names, estimator, intervention)


def method_of(estimator: Estimator | str) -> Estimator | type[Estimator]:
    """Return an estimator, or the class of one that is given by its name."""
    return table("estimator")[estimator] if isinstance(estimator, str) else estimator


def _needs_gradient(method: Estimator | type[Estimator], of_steps: bool) -> bool:
    return method.needs_gradient or (of_steps and not method.exact)


def _refuse_without_gradient(scope: Scope, reference: Reference, way_out: str) -> None:
    """Report a behavior whose effects no estimate can tell."""
    names = (reference.text, *scope.behavior_families.get(reference.text, ()))
    declared = [scope.behaviors[name] for name in names if name in scope.behaviors]
    if metric := next((behavior.metric for behavior in declared if not behavior.differentiable), ""):
        which = f"{metric.removesuffix('()')}, which has no gradient"
        message = f'behavior "{reference.text}" is {which}, and the estimator needs one'
        scope.report(reference.span, message, way_out)


def _refuse_everything(scope: Scope, reference: Reference) -> None:
    """Report a stage that holds every step: a run without any training is no counterfactual of a stage."""
    for name in (reference.text, *scope.families.get(reference.text, ())):
        mask = scope.stages.get(name)
        if mask is not None and mask.all():
            hint = "what would be left is the untrained model; `shares` divides what all of the training did"
            steps = f"all {len(mask)} steps" if len(mask) > 1 else "the only step"
            scope.report(reference.span, f'stage "{name}" holds {steps}', hint)
