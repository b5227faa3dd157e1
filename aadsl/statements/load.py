"""``load``: take up a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

from aadsl.core.arguments import kinds_of
from aadsl.core.errors import AadslError
from aadsl.data.coordinates import useful
from aadsl.language import Argument, Literal, Name, Positional, ProgramText
from aadsl.statements.base import Action, Statement
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.studied import Studied
from aadsl.statements.vocabulary import given_options, notebook_name

OPTIONS = {
    "model": Any,
    "loss": Any,
    "data": Any,
    "device": Any,
    "within": Any,
    "unverified": bool,
    "decoders": int,
    "optimizer": Any,
    "final": Any,
    "finish": Any,
    "generators": Any,
    "joins": Any,
}

OF_MODEL = ("other dtype", "changed weight")  # what is wrong with the model that was given, not with the data


@dataclass(frozen=True)
class Load(Statement):
    """Take up a trajectory, or a study that lives in the notebook.

    load "runs/badnet" with model=net, loss=loss_fn, data=train
    load "runs/pretrain", "runs/finetune" with model=net, loss=loss_fn, data=train
    load study
    load "runs/other" with model=net, loss=loss_fn, data=train as second

    Several paths are runs that were chained one after the other, each with its own optimizer. `model`, `loss` and
    `data` are names from the notebook: the model as it was trained, loss(model, batch) and the training data, each or a
    dict of them by run, such as {"pretrain": digits, "finetune": letters}; `device` is "auto" unless given. `optimizer`
    makes the optimizer that trained, optimizer(params), where its class has no derivative here and is not imported.
    Answers are about the run's end; a model whose weights are neither those of its start nor of its end is told of.
    `final` says which model was shipped instead: the number of steps after which it was kept, such as final=1200 where
    best weights were loaded at the end, or final="given" for the weights of the model; what came later has no effect.
    `generators` are random generators of one's own that the loss draws from, as Recorder(…, generators=[g]) had them.
    `finish` is done to the model after training, finish(model), as update_bn is; answers are then exact ones alone.
    final="averaged" is the average (EMA, SWA) that Recorder(…, averaged=ema) followed, final=[8, 12] the mean of two.
    Where an optimizer evaluates other weights than it trains (a schedule-free one), answers are about those that its
    eval() sets; final="trained" asks about the others.
    `joins` says how a run begins, where names and shapes do not: {"finetune": aadsl.fresh("head.*")}, a new head, or
    aadsl.lora_merged() instead, which says that adapters that the run before trained were merged into its weights.
    Scores are refused on a trajectory that fails verification, unless `unverified=true` is given; then they say so.
    Stages and behaviors of an earlier trajectory are left behind; those defined on a loaded study are there.
    `within` is the budget of answers, "30 s" unless given: within it exact answers come first. `decoders` is how many
    processes decode the examples of a dataset that takes long to give them, 0 unless given.

    Runs that are loaded `as` a name stand beside each other: what is defined below is defined in each, what is asked is
    asked of each, and the answer has each behavior once for each run, reading[first] and reading[second]. A `load`
    without `as` leaves them.
    """

    sources: tuple[Literal | Name, ...]
    arguments: tuple[Argument | Positional, ...] | None
    alias: Name | None

    def resolve(self, scope: Scope) -> Action | None:
        """Open the trajectory: its coordinates are what the statements below are checked against."""
        given = self._given(scope)
        sources = [self._source(scope, source) for source in self.sources]
        study = self._study(scope, sources, given) if given is not None and None not in sources else None
        if study is None:
            scope.leave()
            return None
        scope.put_beside("" if self.alias is None else self.alias.text)
        scope.enter(study)
        return partial(self.run, study=study, source=scope.source)

    def run(self, result: Result, study: Studied, source: ProgramText) -> None:
        """Take up the study, if its loss is one."""
        notes = [*study.notes, *self._unfit(study, source)]
        self._try_loss(study, source)
        session, name = result.session, "" if self.alias is None else self.alias.text
        if not name or not session.runs:
            session.runs.clear()
            session.definitions.clear()
        if name:
            session.runs.pop(name, None)
            session.runs[name] = type(session)(study=study)
        session.study, session.run = study, name
        session.defined("", result.text)
        names = ", ".join(useful(result.session.coordinates(study).names))
        result.say(f"loaded {name + ': ' if name else ''}{study.trajectory.length} steps, coordinates: {names}")
        for note in notes:
            result.say(f"note: {note}")

    def _try_loss(self, study: Studied, source: ProgramText) -> None:
        """Call the loss that was given once; what is wrong with it is a mistake of its option."""
        from aadsl.replayed.trial import require_loss
        from aadsl.study import Study

        for argument in self.arguments or ():
            if isinstance(study, Study) and isinstance(argument, Argument) and argument.name.text == "loss":
                try:
                    require_loss(study.history)
                except AadslError as error:
                    raise source.placed(error, argument.value.span) from error.__cause__

    def _unfit(self, study: Studied, source: ProgramText) -> list[str]:
        """Return how the model and the data that were given differ from the run's, where that is tolerated.

        Else it is a mistake of its option.
        """
        from aadsl.study import Study
        from aadsl.verification.fit import fitting

        given = {a.name.text: a.value for a in self.arguments or () if isinstance(a, Argument)}
        if not isinstance(study, Study) or not given:
            return []
        history = study.history
        failed = [f for f in fitting(study.trajectory, history.private_models, history.data) if f.outcome == "failed"]
        tolerated = given.get("unverified")
        if failed and not (isinstance(tolerated, Literal) and tolerated.value is True):
            option = given.get("model" if failed[0].cause in OF_MODEL else "data")
            error = AadslError(failed[0].text, hint=f"{failed[0].remedy}; to go on nevertheless, add unverified=true")
            raise source.placed(error, self.span if option is None else option.span)
        return [finding.text for finding in failed]

    def _given(self, scope: Scope) -> dict[str, Any] | None:
        """Return the options. A device that is not there is a mistake of its option, not of the run."""
        from aadsl.study import Study

        mistakes, kinds = len(scope.problems), kinds_of(Study.__init__)
        known = {option: kinds.get(option, kind) for option, kind in OPTIONS.items()}
        given = given_options(scope, "load", self.arguments or (), known)
        for argument in self.arguments or ():
            if given is not None and isinstance(argument, Argument) and argument.name.text == "device":
                _check_device(scope, argument, given["device"])
        return given if len(scope.problems) == mistakes else None

    def _source(self, scope: Scope, source: Literal | Name) -> Any:
        return source.value if isinstance(source, Literal) else notebook_name(scope, source)

    def _study(self, scope: Scope, sources: list[Any], given: dict[str, Any]) -> Studied | None:
        from aadsl.study import Study
        from aadsl.trajectory import Trajectory, open_trajectory

        first = sources[0]
        if isinstance(first, Study) or first is scope.session.study:
            if self.arguments or len(sources) > 1:
                scope.report(self.span, "a study has its model, loss and data already", "write: load study")
                return None
            return first
        for source, value in zip(self.sources, sources, strict=True):
            if not isinstance(value, str | PathLike | Trajectory):
                hint = "give a path in quotes, or the name of a Study or Trajectory"
                scope.report(source.span, f"a Python {type(value).__name__} cannot be loaded", hint)
                return None
        missing = [name for name in ("model", "loss") if name not in given]
        if missing:
            hint = 'write: load "runs/name" with model=net, loss=loss_fn, data=train'
            scope.report(self.span, f"load needs {' and '.join(missing)}", hint)
            return None
        try:
            trajectory = (
                first if isinstance(first, Trajectory) else open_trajectory(first if len(sources) == 1 else sources)
            )
            return Study(trajectory, **given)
        except AadslError as error:
            scope.repeat(self.sources[0].span, error)
        except OSError as error:
            scope.report(self.sources[0].span, f"this cannot be opened: {error}", "may it be read, by you, from here?")
        return None


def _check_device(scope: Scope, argument: Argument, device: Any) -> None:
    from aadsl.replayed.devices import device_of

    try:
        device_of(device)
    except AadslError as error:
        scope.repeat(argument.value.span, error)
