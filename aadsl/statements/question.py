"""What ``score``, ``verify`` and ``rank`` have in common: stages, behaviors, an estimator and an intervention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aadsl.language import Call, Reference
from aadsl.statements.answers import EACH, Answer
from aadsl.statements.base import Action, Statement
from aadsl.statements.vocabulary import build, table

if TYPE_CHECKING:
    from aadsl.statements.scope import Scope
    from aadsl.study import Study

DEFAULT_ESTIMATOR = "first_order"
DEFAULT_INTERVENTION = "skip"


@dataclass(frozen=True)
class Asked:
    """A resolved question, ready for the study."""

    stages: tuple[str, ...]
    behaviors: tuple[str, ...]
    estimator: Any
    intervention: Any

    def plan(self, study: Study) -> str:
        """Return what would be computed and what it costs, in words."""
        return str(
            study.plan(
                list(self.stages), list(self.behaviors), estimator=self.estimator, intervention=self.intervention
            )
        )


class Question(Statement):
    """A statement that asks for effects. ``ask`` gives what it asks for; None after a mistake."""

    def ask(self, scope: Scope) -> Asked | None:
        """Resolve the names without computing anything."""
        raise NotImplementedError

    def answer(self, asked: Asked) -> Action:
        """Return the action that computes the answer."""
        raise NotImplementedError

    def plan(self, study: Study, asked: Asked) -> str:
        """Return what answering would compute and what it costs, in words."""
        return asked.plan(study)

    def foretell(self, scope: Scope, asked: Asked) -> Answer:
        """Return what the answer will hold: the effects of stages, unless a statement says otherwise."""
        each = frozenset(name for name in asked.behaviors if scope.behaviors[name].per_example)
        variables = {"effect", "member", *scope.steps.names, *([EACH] if each else [])}
        method = method_of(asked.estimator)
        if getattr(method, "additive", False) or hasattr(method, "choose"):  # what will be chosen may be additive
            variables.add("step_effect")
        return Answer(frozenset(asked.stages), frozenset(asked.behaviors), frozenset(variables), each)

    def resolve(self, scope: Scope) -> Action | None:
        """Check the question and announce its answer to the statements below."""
        asked = self.ask(scope)
        if asked is None:
            scope.question_failed = True
            return None
        scope.answers.append(self.foretell(scope, asked))
        return self.answer(asked)


def asked_of(
    scope: Scope,
    stages: Sequence[Reference],
    behaviors: Sequence[Reference],
    using: Call | None,
    under: Call | None,
) -> Asked | None:
    """Resolve the parts of a question; report every mistake and return None where there is one."""
    mistakes = len(scope.problems)
    if not scope.needs_study(scope.span):
        return None
    stage_names, behavior_names = scope.all_names("stage", stages), scope.all_names("behavior", behaviors)
    estimator = DEFAULT_ESTIMATOR if using is None else build(scope, using, "estimator")
    intervention = DEFAULT_INTERVENTION if under is None else build(scope, under, "intervention")
    for reference in stages:
        _refuse_everything(scope, reference)
    for reference in behaviors:
        _refuse_without_gradient(scope, reference, estimator)
    if stage_names is None or behavior_names is None or len(scope.problems) > mistakes:
        return None
    return Asked(stage_names, behavior_names, estimator, intervention)


def method_of(estimator: Any) -> Any:
    """Return an estimator, or the class of one that is given by its name."""
    return table("estimator")[estimator] if isinstance(estimator, str) else estimator


def _refuse_without_gradient(scope: Scope, reference: Reference, estimator: Any) -> None:
    """Report a behavior whose effects this estimator cannot tell."""
    method = method_of(estimator)
    if method is None or not method.needs_gradient:
        return
    names = (reference.text, *scope.behavior_families.get(reference.text, ()))
    if any(name in scope.behaviors and not scope.behaviors[name].differentiable for name in names):
        message = f'behavior "{reference.text}" has no gradient, and the estimator needs one'
        scope.report(reference.span, message, "ask for the exact answer: using retraining()")


def _refuse_everything(scope: Scope, reference: Reference) -> None:
    """Report a stage that holds every step: a run without any training is no counterfactual of a stage."""
    for name in (reference.text, *scope.families.get(reference.text, ())):
        mask = scope.stages.get(name)
        if mask is not None and mask.all():
            hint = "a stage is a part of the training; what would be left is the untrained model"
            scope.report(reference.span, f'stage "{name}" holds all {len(mask)} steps', hint)
