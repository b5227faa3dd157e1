"""What lives from cell to cell, and what a cell gives."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aadsl.core.aligned import aligned
from aadsl.core.arguments import checked
from aadsl.core.attached import attached
from aadsl.core.progress import Progress
from aadsl.core.texts import in_line, told
from aadsl.statements.answers import STEPS, AnswerOutline, keep_newest, labels
from aadsl.statements.axis import Coordinates
from aadsl.statements.batches import BatchExamples, batch_examples
from aadsl.statements.frames import tidy
from aadsl.statements.studied import Studied

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from aadsl.study.question import Question

T = TypeVar("T")


@dataclass(eq=False)
class Answered:
    """An answer, and what it takes to ask more about it.

    Attributes:
        dataset: the answer.
        study: the study as it was when it answered, and ``asked`` the question; None where there is nothing to ask.
        program: the statements that led to it: what was loaded and defined, and the question, in order.
        runs: what tells the recorded runs that it is about from others; where there is none, it is about any.
        charts: what was drawn of it, by the statement that drew it.
    """

    dataset: xr.Dataset
    study: Studied | None = None
    asked: Question | None = None
    program: tuple[str, ...] = ()
    runs: frozenset[tuple[int | str, ...]] = frozenset()
    charts: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def outline(self) -> AnswerOutline:
        """What it holds, and what can be had for it; read once, because every later program looks at it."""
        held = AnswerOutline.of(self.dataset)
        return held if STEPS in self.dataset else replace(held, stepped=frozenset(self._sweepable))

    @cached_property
    def _sweepable(self) -> list[str]:
        """The behaviors of which effects of single steps can be swept."""
        if self.study is None or self.asked is None:
            return []
        known = self.study.behaviors
        return [name for name in sorted(labels(self.dataset, "behavior")) if known[name].differentiable]

    def with_steps(self, behaviors: Collection[str] = (), progress: Progress | None = None) -> xr.Dataset:
        """Return the answer with the effects of single steps, of those behaviors that have any; swept when needed."""
        if STEPS in self.dataset or not self._sweepable:
            return self.dataset
        assert self.study is not None and self.asked is not None  # else nothing could be swept
        names = [name for name in self.dataset["behavior"].values.tolist() if name in self._sweepable]
        part = self.dataset.sel(behavior=[name for name in names if not behaviors or name in behaviors])
        swept = self.study.with_step_effects(part, intervention=self.asked.intervention, progress=progress)
        if part.sizes["behavior"] == self.dataset.sizes["behavior"]:
            self.dataset = swept
            self.__dict__.pop("outline", None)  # read anew
        return swept


@checked
@dataclass
class Session:
    """The loaded study with its stages and behaviors, the newest answers, the last one last, and the newest chart.

    Of the answers the newest 100 are kept; a result keeps its own.
    """

    study: Studied | None = None
    answers: list[Answered] = field(default_factory=list)
    chart: Any = field(default=None, repr=False)
    runs: dict[str, Session] = field(default_factory=dict, repr=False)
    """The runs that were loaded `as` a name, each with its study; ``run`` is the name of the one loaded last."""
    run: str = ""
    previewed: tuple[Any, Studied | None] | None = field(default=None, repr=False)
    definitions: list[tuple[str, str]] = field(default_factory=list, repr=False)
    examples: dict[str, tuple[Any, str]] = field(default_factory=dict, repr=False)
    """Behaviors that a program defined, each with what it said of their examples."""
    _kept: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        study = self.study
        of = "" if study is None else f" of {study.trajectory.path}"
        counts = {} if study is None else {"stage": len(study.stages), "behavior": len(study.behaviors)}
        counts["answer"] = len(self.answers)
        return in_line(f"<aadsl.Session{of}: {', '.join(_counted(count, what) for what, count in counts.items())}>")

    def answers_about(self, study: Studied | None) -> list[Answered]:
        """Return the answers about the run of a study, the newest last."""
        if study is None or not self.answers:
            return [*self.answers]
        stamp = study.trajectory.stamp
        return [answered for answered in self.answers if not answered.runs or stamp in answered.runs]

    def defined(self, name: str, text: str) -> None:
        """Note the statement that gave a name its meaning; said once more, it is noted once."""
        if next((said for known, said in reversed(self.definitions) if known == name), None) != text:
            self.definitions.append((name, text))

    def coordinates(self, study: Studied) -> Coordinates:
        """Return the step coordinates of ``study``, read once."""
        return self._once("steps", study, lambda: Coordinates.of(study.steps, "step"))

    def batches(self, study: Studied) -> BatchExamples:
        """Return what is known of the examples of every batch of ``study``, read once."""
        return self._once("batches", study, lambda: batch_examples(study))

    def _once(self, what: str, study: Studied, read: Callable[[], T]) -> T:
        kept, value = self._kept.get(what, (None, None))
        if kept is not study:
            value = read()
            self._kept[what] = (study, value)
        return cast(T, value)


@dataclass
class Result:
    """What a program gave.

    Attributes:
        charts: the Altair charts it plotted, in order.
        reports: what `verify trajectory` found, in order; each has ``ok`` and ``causes``.
        checks: what `check` found, in order: Datasets over ``behavior``.
        asked: its answers, in order.
        plan: what `explain` says would be computed; an answer carries its own plan in ``dataset.attrs``.
        messages: what its statements have to say, in order.
        session: pass it on to let the names live in the next program.
    """

    session: Session
    charts: list[Any] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    reports: list[Any] = field(default_factory=list)
    checks: list[xr.Dataset] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)
    progress: Progress | None = None
    asked: list[Answered] = field(default_factory=list, repr=False)
    shown: list[Any] = field(default_factory=list, repr=False)
    """Its texts, reports, answers and charts in the order in which they were asked for."""
    text: str = field(default="", repr=False)
    """The statement that runs."""

    @property
    def answered(self) -> Answered | None:
        """The last answer of the program; None where it asked nothing."""
        return self.asked[-1] if self.asked else None

    @property
    def dataset(self) -> xr.Dataset | None:
        """The last answer of the program, with what charts asked about it since; None where it asked nothing."""
        return None if self.answered is None else self.answered.dataset

    @property
    def frame(self) -> pd.DataFrame | None:
        """The last answer as a table of pandas, one row for each stage and behavior (of `rank`: for each rank).

        With units, intervals, exact or estimated, trust and its reason. Up to pandas' ``display.max_rows`` its rows are
        sorted in JupyterLab by a click on a column's head and picked by a text, as those of answers; in Python by
        ``frame.sort_values("effect")`` and ``frame.query('trust == "high"')``.
        """
        return None if self.dataset is None else tidy(self.dataset)

    @property
    def plan(self) -> str:
        """The plans of the questions, in order."""
        return "\n\n".join(self.plans)

    @property
    def study(self) -> Studied:
        """The loaded study; resolution made sure that there is one."""
        assert self.session.study is not None
        return self.session.study

    def explore(self) -> Any:
        """Return the explorer of the answer, for a notebook: drag over the timeline to make a stage.

        Raises:
            AadslError: the answer has no effects of single steps.
        """
        return attached("Result.explore")(self)

    def say(self, message: str) -> None:
        """Add a message."""
        self.messages.append(told(message) if type(message) is str else message)
        self.shown.append(self.messages[-1])

    def foretell(self, plan: str) -> None:
        """Add the plan of a question."""
        self.plans.append(told(plan))
        self.shown.append(self.plans[-1])

    def report(self, report: Any) -> None:
        """Add what verifying a trajectory found."""
        self.reports.append(report)
        self.shown.append(report)

    def answer(self, dataset: xr.Dataset, asked: Question | None = None) -> None:
        """Keep an answer for this result and for later statements; what is wrong with its trajectory is said."""
        if why := dataset.attrs.get("unverified"):
            self.say(f"the trajectory does not pass verification, so these numbers may mean nothing: {why}")
        # The study as it is: a name may mean something else later.
        program = [text for _, text in self.session.definitions]
        runs = frozenset({self.study.trajectory.stamp})
        self.asked.append(Answered(dataset, self.study.branch(), asked, (*program, self.text), runs))
        self.shown.append(self.asked[-1])
        keep_newest(self.session.answers, self.asked[-1])

    def draw(self, chart: Any, answered: Answered) -> None:
        """Keep a chart of an answer for this result, and for later statements that save it."""
        self.charts.append(chart)
        self.shown.append(chart)
        answered.charts[self.text] = chart
        self.session.chart = chart

    def __repr__(self) -> str:
        rows = [("answer", _described(answered.dataset)) for answered in self.asked]
        counts = {"texts": self.messages, "plans": self.plans, "reports": self.reports, "charts": self.charts}
        rows += [(name, f"{len(parts)}") for name, parts in counts.items() if parts]
        return "\n".join(["<aadsl.Result>", *aligned(rows)])

    def __str__(self) -> str:
        dataset = [] if self.dataset is None else [told(str(self.dataset))]
        reports = set(map(id, self.reports))
        texts = [str(shown) for shown in self.shown if isinstance(shown, str) or id(shown) in reports]
        return "\n\n".join([*texts, *dataset])


def _described(dataset: xr.Dataset) -> str:
    """Return how large an answer is and how it was answered."""
    shape = " × ".join(_counted(dataset.sizes[axis], axis) for axis in ("stage", "behavior") if axis in dataset.sizes)
    by = str(dataset.attrs.get("answered_by", ""))
    return f"{shape}: {by}" if by else shape


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
