"""Questions with their names looked up: what an estimator is asked, and which estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from aadsl.core.errors import AadslError
from aadsl.core.members import describe, member_of
from aadsl.estimators import ESTIMATORS, Auto, Estimator, Query
from aadsl.interventions import INTERVENTIONS, Intervention
from aadsl.study.names import Names
from aadsl.study.question import DEFAULT_ESTIMATE, Question

TABLES: dict[str, dict[str, Any]] = {"estimator": ESTIMATORS, "intervention": INTERVENTIONS}


def query_of(question: Question, names: Names) -> Query:
    """Return the query that a question means; without stages it is about all steps at once.

    Raises:
        AadslError: a name is unknown.
    """
    every = np.ones((1, names.steps.sizes["step"]), dtype=bool)
    members = names.members(names.stage_names(question.stages)) if question.stages else every
    behaviors = tuple(names.behaviors_of(question.behaviors))
    return Query(members, behaviors, intervention_of(question))


def intervention_of(question: Question) -> Intervention:
    """Return the intervention that a question names.

    Raises:
        AadslError: there is none of this name.
    """
    intervention: Intervention = _member("intervention", question.intervention)
    return intervention


def estimator_of(question: Question, within: str | float | None = None) -> Estimator:
    """Return the estimator that a question names, with ``within`` as its budget where that is given.

    Raises:
        AadslError: there is none of this name, or it has no budget.
    """
    method: Estimator = _member("estimator", question.estimator)
    if within is None:
        return method
    if not isinstance(method, Auto):
        raise AadslError(
            f"{describe(method)} has no budget: it takes the time it takes", hint="leave within= out, or use auto"
        )
    return replace(method, within=within)


def of_steps(method: Estimator) -> Estimator:
    """Return what gives every step an effect where ``method`` was asked for: of ``auto`` the default estimate."""
    return estimator_of(Question((), (), DEFAULT_ESTIMATE)) if isinstance(method, Auto) else method


def _member(kind: str, given: Any) -> Any:
    """Return a member of a table, which may be given by its name."""
    return member_of(kind, TABLES[kind], given, {}) if isinstance(given, str) else given
