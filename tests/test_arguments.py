"""Every public function answers an argument of the wrong kind with its name and what it should be."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader

import aadsl
from aadsl.behaviors import BEHAVIORS
from aadsl.charts import CHARTS, save
from aadsl.core.arguments import fits
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS
from aadsl.propagation import CURVATURES
from aadsl.trajectory import Clip, budget, every
from aadsl.verification import Report, verify
from tests.trajectory.loops import DATA, mean_loss, sgd, small_model, train

MEMBERS = [*BEHAVIORS.values(), *CHARTS.values(), *ESTIMATORS.values(), *INTERVENTIONS.values(), *CURVATURES.values()]
MADE = (aadsl.AadslError, aadsl.Trajectory, aadsl.Result, aadsl.Reconstruction)
FUNCTIONS = [getattr(aadsl, name) for name in aadsl.__all__ if callable(getattr(aadsl, name))]
FUNCTIONS = [entry for entry in FUNCTIONS if entry not in MADE]
METHODS = [
    (owner, name)
    for owner in (aadsl.Recorder, aadsl.Trajectory, aadsl.Study, Report)
    for name, _ in inspect.getmembers(owner, inspect.isfunction)
    if not name.startswith("_")
]
# A value of every kind that people mistake for another.
WRONG: list[Callable[[], Any]] = [
    object,
    lambda: None,
    lambda: 1.5,
    lambda: -1,
    lambda: True,
    lambda: "text",
    lambda: Path("text"),
    lambda: [1.5],
    lambda: {"a": 1},
    lambda: nn.Linear,
    lambda: nn.Linear(2, 2),
    lambda: nn.Linear(2, 2).state_dict(),
    lambda: mean_loss,
    lambda: np.zeros(3),
    lambda: torch.zeros(3),
]
# What it judges by what is in it, which another test sees to.
JUDGED = {"where"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    model = small_model()
    optimizer = sgd(model)
    with aadsl.Recorder(folder, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 4)
    return folder


@pytest.fixture(scope="module")
def answered(recorded: Path) -> tuple[Any, Report]:
    """An answer, and what verifying the run gave."""
    return asked(recorded).retrain(["early"], ["digits"]), aadsl.open_trajectory(recorded).verify()


@pytest.fixture
def right(
    recorded: Path, answered: tuple[Any, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """A right value for every parameter that has no default, and the objects whose methods are called."""
    monkeypatch.chdir(tmp_path)
    model = small_model()
    study = asked(recorded)
    recorder = aadsl.Recorder(tmp_path / "other", model, sgd(model), DATA)
    answer, report = answered
    yield {
        "path": "other run",
        "trajectory": study.trajectory,
        "model": model,
        "optimizer": sgd(model),
        "loss": mean_loss,
        "text": "show",
        "interval": 2,
        "size": "1 MiB",
        "kind": "norm",
        "limit": 1.0,
        "chart": None,
        "stages": ["early"],
        "behaviors": ["digits"],
        "names": ["early"],
        "name": "other",
        "selection": [0],
        "members": {"a": [0], "b": [1]},
        "metric": "margin",
        "on": DATA,
        "step": 0,
        "job": 0,
        "row": 0,
        "answer": answer,
        aadsl.Recorder: recorder,
        aadsl.Trajectory: study.trajectory,
        aadsl.Study: study,
        Report: report,
        "factor": 0.5,
        "weight": 2.0,
        "data": DATA,
        "dataset": DATA,
        "loader": DataLoader(DATA),
    }
    recorder.close()


def study_of(folder: Path, **given: Any) -> aadsl.Study:
    options = {"model": small_model(), "loss": mean_loss, "data": DATA, "device": "cpu"} | given
    return aadsl.Study(aadsl.open_trajectory(folder), **options)


def asked(folder: Path, **given: Any) -> aadsl.Study:
    """Return a study with a stage and a behavior."""
    study = study_of(folder, **given)
    study.stage("early", [1])
    study.behavior("digits", "log_likelihood", on=DATA)
    return study


def attempts(entry: Any, right: dict[Any, Any]) -> Iterator[tuple[str, Any, Any, Any]]:
    """Call ``entry`` with a wrong value for each of its parameters; yield what it answered: None, or an error."""
    kinds = typing.get_type_hints(entry.__init__ if isinstance(entry, type) else entry)
    parameters = inspect.signature(entry).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in JUDGED]
    needed = {p.name: right[p.name] for p in named if p.default is p.empty}
    for parameter in named:
        for make in WRONG:
            value = make()
            if callable(value) and fits(value, kinds.get(parameter.name, Any)):
                continue  # what it does when it is called is its own
            try:
                made = entry(**needed | {parameter.name: value})
            except aadsl.AadslError as error:
                yield parameter.name, kinds.get(parameter.name, Any), value, error
            else:
                if isinstance(made, aadsl.Recorder):
                    made.close()
                yield parameter.name, kinds.get(parameter.name, Any), value, None


def judge(entry: Any, right: dict[Any, Any]) -> None:
    for name, kind, value, error in attempts(entry, right):
        if not fits(value, kind) and entry is not aadsl.open_trajectory:  # that has words of its own
            assert f"{name} must be" in str(error) or f"no {name} " in str(error), (entry, name, value, error)
        if type(value) is object and kind is not Any:
            assert error is not None, (entry, name)


@pytest.mark.parametrize("entry", [*FUNCTIONS, verify, every, budget, Clip, save], ids=lambda entry: entry.__name__)
def test_functions(entry: Any, right: dict[Any, Any]) -> None:
    if entry is aadsl.reconstruct:
        untrained = {"model": small_model().state_dict()}
        right |= {"checkpoints": {0: untrained, 1: untrained}, "optimizer": lambda params: torch.optim.SGD(params, 0.1)}
        right |= {"batches": lambda step: DATA, "path": "reconstructed"}
    judge(entry, right)


@pytest.mark.parametrize("owner, name", METHODS, ids=lambda given: getattr(given, "__name__", given))
def test_methods(owner: type, name: str, right: dict[Any, Any]) -> None:
    judge(getattr(right[owner], name), right)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_options_of_members(member: Any, right: dict[Any, Any]) -> None:
    judge(member, right)


def test_nothing_is_checked_at_every_step_of_a_training_loop() -> None:
    assert not hasattr(aadsl.Recorder.batch, "__wrapped__") and not hasattr(
        aadsl.Recorder.forward_begins, "__wrapped__"
    )
    assert hasattr(aadsl.Recorder.phase, "__wrapped__")


def test_what_means_the_same_is_not_refused(tmp_path: Path, recorded: Path) -> None:
    """Numbers of NumPy, sizes that were computed, devices as objects and as numbers."""
    model = small_model()
    options: dict[str, Any] = {"states": np.int64(2), "accumulate": np.int64(1), "clip": np.float32(0.5)}
    with aadsl.Recorder(tmp_path, model, optimizer := sgd(model), DATA, **options) as recorder:
        train(recorder, model, optimizer, 4, clip=0.5)
    assert aadsl.open_trajectory(tmp_path).checkpoints == (0, 2, 4)
    study = study_of(recorded, memory=4e9, kept=1e9, within=np.float64(3), device=torch.device("cpu"))
    assert study.trajectory.verify(model, mean_loss, DATA, device=torch.device("cpu")).ok
    assert budget(1e6) == budget("1MB")
    if not torch.cuda.is_available():
        with pytest.raises(aadsl.AadslError, match='cannot compute on "cuda:0" here'):
            study_of(recorded, device=0)


def test_one_name_means_itself(recorded: Path) -> None:
    study = study_of(recorded)
    study.stage("night", [1])
    study.behavior("digits", "log_likelihood", on=DATA)
    for name in ("night", iter(["night"]), np.array(["night"])):
        assert study.score(name, "digits").stage.values.tolist() == ["night"]
    assert study.verify("night", "digits").behavior.values.tolist() == ["digits"]
    with pytest.raises(aadsl.AadslError, match="3 is no name"):
        study.score((name for name in [3]), "digits")  # type: ignore[misc]


def test_what_was_given_is_named_and_what_is_wanted_explained(recorded: Path) -> None:
    with pytest.raises(aadsl.AadslError) as caught:
        aadsl.Study(str(recorded), model=nn.Linear, loss=mean_loss)  # type: ignore[arg-type]
    trajectory, model = caught.value.problems
    assert "Study: trajectory must be a Trajectory, not the text" in trajectory.message
    assert "open_trajectory(path)" in trajectory.hint
    assert model.message.endswith("not the class Linear") and "model=Linear(…)" in model.hint


def test_a_lazy_model(tmp_path: Path, recorded: Path) -> None:
    lazy = nn.Sequential(nn.LazyLinear(3))
    for act in (lambda: aadsl.Recorder(tmp_path, lazy, sgd(lazy)), lambda: study_of(recorded, model=lazy)):
        with pytest.raises(aadsl.AadslError, match="has no shape yet: its layer is lazy"):
            act()


def one_an_example(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


LOSSES: dict[str, tuple[Any, str]] = {
    "pair": (lambda model, batch: (mean_loss(model, batch), 0), "returned a tuple of 2"),
    "dict": (lambda model, batch: {"loss": mean_loss(model, batch)}, 'fn(model, batch)["loss"]'),
    "nothing": (lambda model, batch: None, "let the function end with: return loss"),
    "one an example": (one_an_example, "returned 8 numbers, of shape (8,)"),
    "float": (lambda model, batch: mean_loss(model, batch).item(), "without .item()"),
    "detached": (lambda model, batch: mean_loss(model, batch).detach(), "has no gradient"),
    "criterion": (nn.CrossEntropyLoss(), "nn.CrossEntropyLoss()(model(batch[0]), batch[1])"),
    "swapped": (
        lambda batch, model: mean_loss(model, batch),
        "the batch is here a tuple of a tensor (8, 6), a tensor (8,)",
    ),
    "of one argument": (lambda batch: torch.zeros(()), "it is called as loss(model, batch)"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_that_is_none(kind: str, recorded: Path) -> None:
    """It is said at the first question, before anything is computed, and in the language at the option."""
    loss, words = LOSSES[kind]
    study = asked(recorded, loss=loss)
    with pytest.raises(aadsl.AadslError) as caught:
        study.score("early", "digits")
    assert words in str(caught.value) and "verification" not in str(caught.value)
    names = {"net": small_model(), "mine": loss, "train": DATA}
    program = f'load "{recorded}" with model=net, loss=mine, data=train'
    with pytest.raises(aadsl.AadslError) as caught:
        aadsl.run(program, names)
    (problem,) = caught.value.problems
    assert words in str(problem) and problem.span is not None
    assert program[problem.span.column - 1 : problem.span.end_column - 1] == "mine"


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (nn.CrossEntropyLoss(), 'nn.CrossEntropyLoss(reduction="none")(model(batch[0]), batch[1])'),
        (lambda batch, model: model(batch[0]), "it is called as behavior(model, batch); the batch is here a tuple of"),
        (lambda model, batch: None, "one number an example"),
    ],
)
def test_a_behavior_that_is_none(metric: Any, words: str, recorded: Path) -> None:
    study = study_of(recorded)
    study.stage("early", [1])
    study.behavior("mine", metric, on=DATA)
    for estimator in ("retraining", "first_order"):
        with pytest.raises(aadsl.AadslError) as caught:
            study.score("early", "mine", estimator=estimator)
        assert words in str(caught.value)


def test_a_loss_of_one_number_in_a_vector_is_one(recorded: Path) -> None:
    report = aadsl.open_trajectory(recorded).verify(
        model=small_model(), loss=lambda model, batch: mean_loss(model, batch)[None], data=DATA, device="cpu"
    )
    assert report.ok, report


def test_a_run_that_was_moved_after_it_was_opened(recorded: Path) -> None:
    study = asked(recorded)
    elsewhere = recorded.rename(recorded.with_name("elsewhere"))
    try:
        with pytest.raises(aadsl.AadslError, match="it was moved"):
            study.score("early", "digits")
    finally:
        elsewhere.rename(recorded)
