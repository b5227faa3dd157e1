"""What is asked of the single training examples of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import xarray as xr

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.exclusive import one_at_a_time
from aadsl.core.families import named
from aadsl.core.progress import Progress, silent
from aadsl.core.units import seconds_of
from aadsl.study.budget import TimeBudget
from aadsl.study.exact_answers import METHOD
from aadsl.study.example_effects import ExampleQuestion, example_effects, plan_of
from aadsl.study.example_results import example_dataset
from aadsl.study.question import Question
from aadsl.study.questions import Questions
from aadsl.study.single_examples import single_examples


@checked
class ExampleQuestions(Questions):
    """Questions about the examples that stages consumed, besides those about the stages."""

    @one_at_a_time
    def examples(
        self,
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
        *,
        top: int = 10,
        self_influence: bool = False,
        within: str | float | None = None,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the effect of each training example of the stages: that of leaving it out of their batches.

        An example is left out where its loss has no weight: a step is the mean over as many examples as before, of
        which this one adds nothing. All examples are estimated to first order by one sweep, an example that came
        several times as the sum over its occurrences; the largest are then trained without, as far as the budget goes.

        Args:
            stages: names of stages or families, or one name; they may hold all steps.
            behaviors: names of behaviors or behavior families, or one name.
            top: of how many to tell the exact effect: so many that helped each behavior most, and as many that hurt it.
            self_influence: whether to tell by how much each example lowered its own loss at once, by its own share of
                each step (TracIn's self-influence): mislabeled ones come first. One backward pass an example.
            within: the budget of the exact effects, such as ``"2 min"``; unless given, that of the study.
            progress: called as ``progress(what, done, total)``.

        Returns:
            A Dataset over (stage, behavior, training_example): ``example_estimate``; ``example_exact``, NaN where it
            was not trained without; ``example_trust`` with its reason; ``occurrences`` in the batches of the stage and
            ``self_influence`` over (stage, training_example); ``index``, target and what was recorded of each example,
            and where it was consumed first, ``first_step`` and ``first_row`` of its batch.

        Raises:
            AadslError: an unknown name, a behavior or an optimizer without gradient, a loss in which examples cannot be
                told apart, or a trajectory that fails.
        """
        names = self.stage_names(stages)
        asked = self._asked(names, behaviors, top, self_influence)
        query = asked.query
        budget = TimeBudget(seconds_of(self._within if within is None else within))
        found = example_effects(self._answering, asked, budget, progress or silent)
        plan = plan_of(self._answering, asked, timed=False)
        return example_dataset(names, asked, found, self._observed(query.behaviors), plan, self.trajectory)

    @one_at_a_time
    def plan_examples(
        self,
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
        *,
        top: int = 10,
        self_influence: bool = False,
    ) -> str:
        """Return in words what :meth:`examples` would compute and what that costs, without computing it."""
        return plan_of(self._answering, self._asked(self.stage_names(stages), behaviors, top, self_influence))

    def _asked(
        self, stages: Sequence[str], behaviors: str | Iterable[str], top: int, influence: bool
    ) -> ExampleQuestion:
        """Return the question. Raises AadslError where nothing of a stage came before the model that is asked about."""
        query, _ = self._resolved(Question(tuple(stages), named(behaviors), METHOD))
        for name, present in zip(stages, query.present, strict=True):
            if not present:
                raise AadslError(f'no step of "{name}" came before {self.history.of_model}', hint="ask of earlier ones")
        return ExampleQuestion(query, top, influence)

    @one_at_a_time
    def training_input(self, step: int, row: int, *, progress: Progress | None = None) -> Any:
        """Return a batch of one: the example in a row of the batch of a step, micro-batches joined.

        Raises:
            AadslError: the step consumed no such example, or neither were the batches stored nor data given.
        """
        known = 0 <= step < self.trajectory.length
        if not known or not 0 <= row < sum(self.trajectory.micro_batch_sizes(step)):
            hint = "first_step and first_row of study.examples(…) say where each was consumed"
            raise AadslError(f"no example {row} in the batch of step {step}", hint=hint)
        (example,) = single_examples(self.history, [(step, row)], progress=progress or silent)
        return example
