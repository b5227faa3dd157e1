"""Answers about a model from the middle of a run: stages that came after it have no effect on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aadsl.core.progress import Progress
from aadsl.estimators import Effects, Estimator, Query
from aadsl.estimators.base import Floats
from aadsl.study.answering import Answering
from aadsl.study.evidence import Bounds
from aadsl.study.exact_answers import METHOD
from aadsl.study.outcome import Outcome


def answered(answering: Answering, query: Query, method: Estimator, progress: Progress) -> Outcome:
    """Return the answer to a query; the effect of a stage is 0 where no step of it came before the model.

    Raises:
        AadslError: as :meth:`Answering.answer`.
    """
    present = query.present
    if present.all():
        return answering.answer(query, method, progress)
    if not present.any():
        return _of_absent(query)
    return _beside_absent(answering.answer(query.of_present, method, progress), present)


def _of_absent(query: Query) -> Outcome:
    shape = len(query.members), len(query.behaviors)
    zero, unknown = np.zeros(shape), np.full(shape, np.nan)
    examples = {k: np.zeros((shape[0], len(b.examples))) for k, b in enumerate(query.behaviors) if b.per_example}
    bounds = Bounds(unknown, unknown, np.zeros(shape, dtype=np.int64))
    by = "nothing: all of this came after the model"
    effects, exact = Effects(zero, examples), np.ones(shape[0], dtype=bool)
    return Outcome(METHOD, effects, exact, zero, bounds, by, present=query.present)


def _beside_absent(answer: Outcome, present: NDArray[np.bool_]) -> Outcome:
    """Return an answer about the present stages as one about all."""

    def among_all(values: Floats | None, absent: float = 0.0) -> Floats | None:
        if values is None:
            return None
        every = np.full((len(present), *values.shape[1:]), absent)
        every[present] = values
        return every

    own, bounds, exact = answer.effects, answer.bounds, np.ones(len(present), dtype=bool)
    exact[present] = answer.exact
    effect, noise = among_all(own.effect), among_all(answer.noise)
    low, high = among_all(bounds.low, np.nan), among_all(bounds.high, np.nan)
    assert effect is not None and noise is not None and low is not None and high is not None
    pairs = np.zeros(effect.shape, dtype=np.int64)
    pairs[present] = bounds.pairs
    examples = {k: every for k, one in own.example_effects.items() if (every := among_all(one)) is not None}
    effects = replace(
        own,
        effect=effect,
        example_effects=examples,
        disagreement=among_all(own.disagreement),
        size=among_all(own.size),
    )
    by = f"{answer.by}; {np.count_nonzero(~present)} came after the model"
    return replace(
        answer, effects=effects, exact=exact, noise=noise, bounds=Bounds(low, high, pairs), by=by, present=present
    )
