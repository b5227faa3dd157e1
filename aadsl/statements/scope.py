"""What the names of a program mean while it is resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError, Problem, Span, unknown_name
from aadsl.core.families import define
from aadsl.core.members import describe
from aadsl.language import Name, Parsed, Reference
from aadsl.statements.answers import AnswerOutline
from aadsl.statements.axis import Coordinates
from aadsl.statements.batches import BatchExamples
from aadsl.statements.session import Session
from aadsl.statements.studied import Studied


@dataclass(frozen=True)
class Declared:
    """What resolution has to know about a behavior."""

    differentiable: bool = True
    per_example: bool = False
    metric: str = ""
    """It in words."""


class Scope:
    """Names and their meaning, and the mistakes found so far.

    Statements change a scope while they are resolved, so that later ones see what earlier ones define; the session
    itself changes only when the whole program is free of mistakes and runs.
    """

    def __init__(self, parsed: Parsed, names: Mapping[str, Any], session: Session) -> None:
        self.source, self.names, self.session = parsed.source, names, session
        self.run = session.run
        """The name of the run, where it was loaded `as` one."""
        self.beside = {run: Scope(parsed, names, own) for run, own in session.runs.items() if run != session.run}
        """What names mean in the runs beside it."""
        self.problems: list[Problem] = []
        self.lost = set(parsed.lost)
        self.answers: list[AnswerOutline] = []
        """What the answers about the loaded run hold, also those that this program will give."""
        self.asked: list[AnswerOutline] = []
        """What the answers of this program will hold."""
        self.stages: dict[str, NDArray[np.bool_]] = {}
        self.families: dict[str, tuple[str, ...]] = {}
        self.behaviors: dict[str, Declared] = {}
        self.behavior_families: dict[str, tuple[str, ...]] = {}
        self.study: Studied | None = None
        self.span = Span(1, 1, 2)
        """The statement that is being resolved."""
        self.ahead: dict[str, int] = {}
        """The lines in which names are defined that this statement cannot know yet."""
        self.table = parsed.table
        """The statements of the language."""
        self.question_failed = False
        """Whether an answer is missing because its question is mistaken; then nothing more is said about it."""
        self.plotted = session.chart is not None
        """Whether there is a chart, or would be but for a mistake."""
        self.inline: dict[str, NDArray[np.bool_]] = {}
        """Sets of steps that stand in this statement in the place of a stage's name."""
        self._said_no_study = False
        self._examples: dict[int, Coordinates] = {}
        if session.study is not None:
            self.enter(session.study)

    def enter(self, study: Studied) -> None:
        """Take up a study with everything that is defined on it."""
        self.study = study
        self.answers = [answered.outline for answered in self.session.answers_about(study)]
        self.asked = []
        self.steps = self.session.coordinates(study)
        self.stages = {name: np.asarray(member, dtype=bool) for name, member in study.stages.items()}
        self.families = dict(study.families)
        self.behaviors = {
            name: Declared(behavior.differentiable, behavior.per_example, describe(behavior.metric))
            for name, behavior in study.behaviors.items()
        }
        self.behavior_families = dict(study.behavior_families)

    def put_beside(self, run: str) -> None:
        """Put the run that has a name beside the next one, which is called ``run``; without a name none is beside."""
        if not run:
            self.beside.clear()
        elif self.run and self.study is not None:
            other = copy(self)
            other.session, other.problems, other.answers, other.asked, other.beside = Session(), [], [], [], {}
            for names in ("stages", "families", "behaviors", "behavior_families", "lost", "inline"):
                setattr(other, names, copy(getattr(self, names)))
            self.beside[self.run] = other
        self.beside.pop(run, None)
        self.run = run

    def leave(self) -> None:
        """Give up the study after a mistaken load: what depends on it is not checked against another."""
        self.study = None
        self.lost.add("load")

    def define_stages(self, name: Name, masks: dict[str, NDArray[np.bool_]]) -> None:
        """Define a stage, or the members of a family, in place of what had the name before."""
        define(self.stages, self.families, name.text, masks)
        self.lost.discard(name.text)

    def define_behaviors(self, name: Name, declared: dict[str, Declared]) -> None:
        """Define a behavior, or the members of a family, in place of what had the name before."""
        define(self.behaviors, self.behavior_families, name.text, declared)
        self.lost.discard(name.text)

    def batches(self) -> BatchExamples:
        """Return the examples of every batch; only where a study is loaded."""
        assert self.study is not None
        return self.session.batches(self.study)

    def coordinates_of(self, data: Any) -> Coordinates:
        """Return the coordinates of examples that live in the notebook, looked up once a program.

        Raises:
            AadslError: ``data`` holds no examples.
        """
        if id(data) not in self._examples:  # the notebook keeps ``data`` alive, so no other object gets its number
            from aadsl.data.examples import Examples

            self._examples[id(data)] = Coordinates.of(Examples.of(data).coordinates, "example")
        return self._examples[id(data)]

    def report(self, span: Span, message: str, hint: str = "") -> None:
        """Note a mistake at ``span``."""
        self.problems.append(self.source.problem(span, message, hint))

    def repeat(self, span: Span, error: AadslError) -> None:
        """Note what another layer found wrong, at ``span``."""
        for problem in error.problems:
            self.report(span, problem.message, problem.hint)

    def needs_study(self, span: Span) -> bool:
        """Return whether a trajectory is loaded; say it once where none is."""
        if self.study is None and not self._said_no_study and "load" not in self.lost:
            self._said_no_study = True
            hint = 'begin with: load "runs/name" with model=…, loss=…, data=…'
            self.report(span, "no trajectory is loaded", hint)
        return self.study is not None

    def stage_names(self, reference: Reference) -> tuple[str, ...] | None:
        """Return the stage of a reference, or the members of a family; report what does not exist."""
        return self._names("stage", reference, self.stages, self.families)

    def behavior_names(self, reference: Reference) -> tuple[str, ...] | None:
        """Return the behavior of a reference, or the members of a family; report what does not exist."""
        return self._names("behavior", reference, self.behaviors, self.behavior_families)

    def all_names(self, kind: str, references: Iterable[Reference]) -> tuple[str, ...] | None:
        """Return the names of several references in order, each once; None after a mistake."""
        find = self.stage_names if kind == "stage" else self.behavior_names
        found = [find(reference) for reference in references]
        if None in found:
            return None
        return tuple(dict.fromkeys(name for names in found if names is not None for name in names))

    def _names(
        self, kind: str, reference: Reference, singles: Mapping[str, Any], families: Mapping[str, tuple[str, ...]]
    ) -> tuple[str, ...] | None:
        if reference.text in singles:
            return (reference.text,)
        if reference.text in families:
            return families[reference.text]
        name = reference.name.text
        if name in self.lost:
            return None
        self.report(reference.span, *self._unknown(kind, reference, singles, families))
        return None

    def _unknown(
        self, kind: str, reference: Reference, singles: Mapping[str, Any], families: Mapping[str, tuple[str, ...]]
    ) -> tuple[str, str]:
        """Return message and hint for a name that no stage (behavior) has."""
        name = reference.name.text
        message = f'no {kind} "{reference.text}"'
        if name in self.ahead:
            line = self.ahead[name]
            below = f'"{name}" is defined below, in line {line}: move that line up'
            return message, below if line != self.span.line else "a name cannot be made from itself"
        other, others = ("behavior", self.behaviors) if kind == "stage" else ("stage", self.stages)
        if name in others:
            return message, f'"{name}" is a {other}; stages come first, then behaviors: STAGES on BEHAVIORS'
        if reference.member is not None and name in families:
            known = [full[len(name) + 1 : -1] for full in families[name]]
            return message, unknown_name("member", reference.member, known).hint
        if reference.member is not None and name in singles:
            return message, f'"{name}" is a single {kind}, not a family'
        single = [known for known in singles if "[" not in known]
        hint = unknown_name(kind, name, [*single, *families]).hint
        return message, f'did you mean "steps"? {hint}' if kind == "stage" and name in ("step", "batch") else hint
