"""Runs of optimizers that have no step function here: exact answers against plain loops, and what is refused."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS
from tests.engine.own_optimizers import OWN, Signed
from tests.interventions import FIXED

LENGTH, STAGE = 14, range(4, 7)
DTYPES = {"single": torch.float32, "double": torch.float64}
X = torch.randn(100, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randint(0, 3, (100,), generator=torch.Generator().manual_seed(2))
OTHERS = (Y + 1) % 3
ARGUMENTS = {"scale_lr": {"factor": 0.5}, "reweight": {"weight": 2.0}}

pytestmark = pytest.mark.filterwarnings("ignore:of a run with")


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def groups_of(model: nn.Module) -> Any:
    """Return two parameter groups, the head first."""
    head, body = ([p for n, p in model.named_parameters() if n.startswith(part)] for part in ("2", "0"))
    return [{"params": head[::-1]}, {"params": body, "lr": 0.03}]


def data_of(dtype: torch.dtype, labels: Tensor = Y) -> tuple[Tensor, Tensor]:
    return X.to(dtype), labels


def train(
    name: str, dtype: torch.dtype, folder: Path | None = None, intervention: str = "", stage: Iterable[int] = STAGE
) -> nn.Module:
    """Train as anyone would write it, with the intervention at the steps of the stage."""
    model, inside = network(dtype), set(stage) if intervention else set()
    optimizer = OWN[name](groups_of(model))
    recorder = aadsl.Recorder(folder, model, optimizer, data=data_of(dtype), states=4) if folder else None
    rates = [group["lr"] for group in optimizer.param_groups]
    for t in range(LENGTH):
        if t in inside and intervention in ("skip", "restart"):
            continue
        if intervention == "restart" and t - 1 in inside:
            optimizer = OWN[name](groups_of(model))
        x, y = data_of(dtype, OTHERS if t in inside and intervention == "replace" else Y)
        rows = torch.arange(6 * t, 6 * t + 6)
        optimizer.zero_grad()
        loss(model, (x[rows], y[rows])).backward()
        factor = {"zero_gradient": 0.0, "reweight": 2.0}.get(intervention, 1.0) if t in inside else 1.0
        for parameter in model.parameters():
            if parameter.grad is not None and factor != 1.0:
                parameter.grad *= factor
        scale = 0.5 if t in inside and intervention == "scale_lr" else 1.0
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = None if rate is None else rate * 0.97**t * scale
        if recorder:
            recorder.batch(indices=rows)
        optimizer.step()
    if recorder:
        recorder.close()
    getattr(optimizer, "eval", lambda: None)()
    return model


def study_of(folder: Path, dtype: torch.dtype, **options: Any) -> aadsl.Study:
    trajectory = aadsl.open_trajectory(folder)
    study = aadsl.Study(trajectory, model=network(dtype), loss=loss, data=data_of(dtype), device="cpu", **options)
    study.stage("early", slice(STAGE.start, STAGE.stop))
    study.behavior("right", "log_likelihood", on=(X[:9].to(dtype), Y[:9]))
    return study


@pytest.fixture(scope="module", params=[(name, kind) for name in OWN for kind in DTYPES], ids=" in ".join)
def recorded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, torch.dtype, Path]:
    name, kind = request.param
    folder = tmp_path_factory.mktemp("run")
    train(name, DTYPES[kind], folder)
    return name, DTYPES[kind], folder


def test_the_replay_has_every_bit_of_the_run(recorded: tuple[str, torch.dtype, Path]) -> None:
    name, dtype, folder = recorded
    study = study_of(folder, dtype)
    report = study.verify_trajectory(samples=20)
    assert report.ok and "every bit the same" in str(report)
    state, history = study.history.state(0), study.history
    for t in range(history.length):
        state = history.step_map(state, history.step(t))
    state = history.shipped(state)
    expected = dict(train(name, dtype).named_parameters())
    assert all(
        torch.equal(v, expected[n]) for n, v in history.objective.parameters.named_views(state.parameters).items()
    )


@pytest.mark.parametrize("intervention", FIXED)
def test_an_exact_answer_is_the_loop_one_would_write(
    recorded: tuple[str, torch.dtype, Path], intervention: str
) -> None:
    name, dtype, folder = recorded
    study = study_of(folder, dtype)
    options = ARGUMENTS.get(intervention, {"data": data_of(dtype, OTHERS)} if intervention == "replace" else {})
    asked = INTERVENTIONS[intervention](**options)
    if intervention == "scale_lr" and "its own learning rate" in name:
        with pytest.raises(aadsl.AadslError, match="finds its learning rate itself"):
            study.counterfactual("early", intervention=asked)
        return
    model = study.counterfactual("early", intervention=asked)
    expected = dict(train(name, dtype, intervention=intervention).named_parameters())
    assert all(torch.equal(p, expected[n]) for n, p in model.named_parameters())
    answer = study.retrain(["early"], ["right"], intervention=asked)
    observed = train(name, dtype)
    effect = [(-loss(one.eval(), (X[:9].to(dtype), Y[:9]))).item() for one in (observed, model)]
    assert answer.effect.item() == pytest.approx(effect[0] - effect[1], rel=1e-4, abs=2e-6)
    if intervention in ("skip", "restart", "replace"):  # others may be nothing to an optimizer that looks at signs
        assert answer.effect.item() != 0


def test_estimates_are_refused_and_auto_is_exact(recorded: tuple[str, torch.dtype, Path]) -> None:
    _, dtype, folder = recorded
    study = study_of(folder, dtype)
    answer = study.score(["early"], ["right"])
    assert answer.exact.values.all()
    assert "exact" in str(study.plan(["early"], ["right"]))
    if not study.history.opaque:
        return
    name = study.trajectory.optimizer
    told = rf"trained with {name}, whose steps can be repeated but not differentiated[\s\S]*using retraining\(\)"
    for method, estimator in ESTIMATORS.items():
        if estimator.needs_gradient:
            with pytest.raises(aadsl.AadslError, match=told):
                study.score(["early"], ["right"], estimator=method)
            with pytest.raises(aadsl.AadslError, match=told):
                study.plan(["early"], ["right"], estimator=method)
    for ask in (study.step_effects, study.check):
        with pytest.raises(aadsl.AadslError, match=told):
            ask(["right"])


def test_a_worker_opens_the_same_run(tmp_path: Path) -> None:
    train("one of the user's own", torch.float64, tmp_path)
    study = study_of(tmp_path, torch.float64, workers=1)
    assert study._answering.workers is not None
    here, there = study.history, study._answering.workers.spec.opened_again().history()
    assert there.made_of[0] is Signed
    ends = [one.step_map(one.state(0), one.step(0)).parameters for one in (here, there)]
    assert torch.equal(*ends)


# --- how the optimizer is made


def hidden() -> type[Signed]:
    """Return a class that nobody can import."""
    return type("Hidden", (Signed,), {"step": lambda self, closure=None: Signed.step(self)})


def short_run(folder: Path, optimizer: Callable[[Any], torch.optim.Optimizer]) -> None:
    model = network(torch.float64)
    made = optimizer(model.parameters())
    with aadsl.Recorder(folder, model, made, data=data_of(torch.float64)) as recorder:
        for t in range(5):
            made.zero_grad()
            rows = torch.arange(6 * t, 6 * t + 6)
            loss(model, (X[rows], Y[rows])).backward()
            recorder.batch(indices=rows)
            made.step()


def test_nothing_is_imported_because_a_recording_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder from a stranger may lie where Python looks for modules, with a module in it."""
    (tmp_path / "stranger.py").write_text("raise SystemExit('it ran')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = hidden()
    kind.__module__, kind.__qualname__ = "stranger", "Hidden"
    with pytest.warns(UserWarning, match="has to be told"):
        short_run(tmp_path / "run", lambda params: kind(params, lr=0.02))
    with pytest.raises(aadsl.AadslError, match=r"trained with stranger\.Hidden; its class is not imported here"):
        study_of(tmp_path / "run", torch.float64)
    with pytest.raises(SystemExit, match="it ran"):
        importlib.import_module("stranger")


def test_a_class_that_is_not_imported_is_given(tmp_path: Path) -> None:
    kind = hidden()
    with pytest.warns(UserWarning, match=r"has to be told how Hidden is made: Study\(…, optimizer=make\)"):
        short_run(tmp_path, lambda params: kind(params, lr=0.02))
    with pytest.raises(aadsl.AadslError, match=r"is not imported here\n.*Study\(…, optimizer=lambda params: Hidden"):
        study_of(tmp_path, torch.float64)

    def make(params: Any) -> torch.optim.Optimizer:
        return kind(params, lr=0.5)  # the rates are those of the run

    study = study_of(tmp_path, torch.float64, optimizer=make)
    assert "every bit the same" in str(study.verify_trajectory(samples=9))
    names = {"net": network(torch.float64), "loss_fn": loss, "train": data_of(torch.float64), "make": make}
    of_cell = f'load "{tmp_path}" with model=net, loss=loss_fn, data=train, optimizer=make\n'
    result = aadsl.run(f"{of_cell}stage a = steps[1:3]\nbehavior b = margin on train\nscore a on b", names)
    assert result.dataset.exact.values.all()
    given = {"model": names["net"], "loss": loss, "data": names["train"], "device": "cpu"}
    assert study.trajectory.verify(**given, optimizer=make).ok and not study.trajectory.verify(**given).ok


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no optimizer": (lambda params: "Signed", r"made a str, not a torch\.optim\.Optimizer"),
    "another": (lambda params: torch.optim.SGD(params, lr=0.1), "made a SGD, and the run was trained with"),
    "of other parameters": (
        lambda params: Signed([nn.Parameter(p.detach()) for p in params], lr=0.1),
        "with other parameters than it was given",
    ),
    "an error": (lambda params: Signed(params), r"cannot be made: TypeError"),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_make_it_is_told(tmp_path: Path, wrong: str) -> None:
    make, told = WRONG[wrong]
    short_run(tmp_path, lambda params: Signed(params, lr=0.02))
    with pytest.raises(aadsl.AadslError, match=told):
        study_of(tmp_path, torch.float64, optimizer=make)


def test_a_closure_is_refused_in_words(tmp_path: Path) -> None:
    model = network(torch.float64)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(model, (X, Y))
        value.backward()
        return value

    with (
        pytest.warns(UserWarning, match=r"LBFGS calls its loss several times a step \(a closure\)"),
        aadsl.Recorder(tmp_path, model, optimizer, data=data_of(torch.float64)) as recorder,
    ):
        for _ in range(3):
            recorder.batch(indices=range(100))
            optimizer.step(closure)  # type: ignore[arg-type]
    with pytest.raises(aadsl.AadslError, match=r"trained with LBFGS, .* \(a closure\), and cannot be replayed"):
        study_of(tmp_path, torch.float64)


def test_what_takes_no_step_by_itself_is_told_before_the_training(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 3))
    optimizer = torch.optim.SparseAdam(model[0].parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"SparseAdam takes no step by itself \(RuntimeError: .*dense .* not scored"):
        aadsl.Recorder(tmp_path, model, optimizer).close()


def test_what_makes_the_optimizer_is_a_part_of_what_answers_are_kept_under(tmp_path: Path) -> None:
    short_run(tmp_path, lambda params: Signed(params, lr=0.02))
    before = study_of(tmp_path, torch.float64)._answering.identifier.now().digest
    other = network(torch.float64)
    with aadsl.Recorder(tmp_path / "other", other, Signed(other.parameters(), lr=0.1)):  # it listens to all steps
        studies = [study_of(tmp_path, torch.float64, optimizer=make) for make in (None, lambda p: Signed(p, lr=0.02))]
        same, another = (study._answering.identifier.now().digest for study in studies)
    assert same == before != another and None not in (before, another)


def test_of_two_of_one_class_each_rests_when_it_does(tmp_path: Path) -> None:
    def run(folder: Path | None, skipped: Iterable[int] = ()) -> nn.Module:
        model = network(torch.float64)
        parts = [torch.optim.Adafactor(model[place].parameters(), lr=0.05) for place in (0, 2)]
        recorder = aadsl.Recorder(folder, model, parts, data=data_of(torch.float64), states=4) if folder else None
        for t in range(LENGTH):
            if t in skipped:
                continue
            rows = torch.arange(6 * t, 6 * t + 6)
            model.zero_grad()
            loss(model, (X[rows], Y[rows])).backward()
            if recorder:
                recorder.batch(indices=rows)
            for part in parts[: 2 if t % 3 == 0 else 1]:
                part.step()
        if recorder:
            recorder.close()
        return model

    run(tmp_path)
    study = study_of(tmp_path, torch.float64)
    assert "every bit the same" in str(study.verify_trajectory(samples=20))
    expected = dict(run(None, STAGE).named_parameters())
    assert all(torch.equal(p, expected[n]) for n, p in study.counterfactual("early").named_parameters())
