"""One new member of each kind, added from outside as CONTRIBUTING.md says: it records, answers, explains itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import aadsl
from aadsl.behaviors import BEHAVIORS
from aadsl.charts import CHARTS, Need
from aadsl.dynamics import DYNAMICS, Hyper, Slots
from aadsl.estimators import ESTIMATORS, Cost, Effects, Estimator, Query, Retraining
from aadsl.interventions import INTERVENTIONS
from aadsl.language import Name
from aadsl.language import parser as parser_module
from aadsl.language.cursor import cursor_at
from aadsl.language.grammar import rules_text
from aadsl.propagation import CURVATURES, Exact, Objective, Point, Step
from aadsl.replayed.execution import Execution
from aadsl.replayed.history import History
from aadsl.statements import STATEMENTS, complete
from aadsl.statements.base import Action, Statement
from aadsl.statements.clauses import fields_at
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result
from aadsl.statements.table import parser
from tests.digits import Recorded, record
from tests.optimizers import class_named

PROGRAM = """
load study
stage early = steps[2:9]
behavior seven = log_likelihood(target=7) on probes
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("additions") / "digits")


def ask(run: Recorded, program: str) -> Result:
    inputs, labels = run.data
    return aadsl.run(f"{PROGRAM}{program}", {"study": run.study(), "probes": (inputs[:20], labels[:20])})


def proposed(text: str) -> set[str]:
    return {item.text for item in complete(text, len(text)).items}


def helped(topic: str) -> str:
    return "\n".join(aadsl.run(f"help {topic}").messages)


# --- an optimizer, which moves a weight of zero with a gradient of zero, as those with noise or a pull do


class Pulling(torch.optim.Optimizer):
    """Gradient descent that pulls every weight towards 1."""

    def __init__(self, params: Any, lr: float = 0.01, pull: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "pull": pull})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad + group["pull"] * (p - 1), alpha=group["lr"])


@dataclass(frozen=True)
class PullingDynamics:
    """θ' = θ − η (g + a(θ − 1))."""

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        return {}

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        return initial

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> tuple[Tensor, Slots]:
        pulled = gradient + hyper["pull"] * (parameter - 1)
        return torch.sub(parameter, pulled, alpha=hyper["lr"]), {}

    def linear(self, hyper: Hyper) -> bool:
        return False


def odd_network() -> nn.Module:
    """Every tensor ends somewhere else than memory is aligned, and no gradient is zero."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))


def mean_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def odd_study(folder: Path, make: Callable[[Any], torch.optim.Optimizer], **options: Any) -> aadsl.Study:
    """Record twelve steps with an optimizer and return a study of them."""
    model = odd_network()
    data = torch.randn(60, 3, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 3
    optimizer = make(model.parameters())
    with aadsl.Recorder(folder, model, optimizer, data=data, **options) as recorder:
        for step in range(12):
            rows = torch.arange(5 * step, 5 * step + 5)
            optimizer.zero_grad()
            mean_loss(model, (data[0][rows], data[1][rows])).backward()
            if options:
                nn.utils.clip_grad_norm_(model.parameters(), options["clip"])
            recorder.batch(indices=rows)
            optimizer.step()
    trajectory = aadsl.open_trajectory(folder)
    study = aadsl.Study(trajectory, model=odd_network(), loss=mean_loss, data=data, device="cpu")
    study.stage("early", slice(2, 5))
    study.behavior("right", "log_likelihood", on=(data[0][:9], data[1][:9]))
    return study


def test_an_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DYNAMICS, "Pulling", PullingDynamics())
    study = odd_study(tmp_path / "run", Pulling, clip=0.5)
    assert "every bit the same" in str(study.verify_trajectory(samples=20))
    answer = study.verify(["early"], ["right"], estimator="linearized")
    assert answer.effect.item() == pytest.approx(answer.retrained_effect.item(), rel=1e-3)


def trains_without_epsilon(name: str) -> bool:
    """Return whether the optimizer has an ``eps``, and moves where it is zero."""
    parameter = nn.Parameter(torch.ones(1))
    optimizer = class_named(name)([parameter], lr=0.01)
    if "eps" not in optimizer.param_groups[0]:
        return False
    optimizer.param_groups[0]["eps"] = 0.0
    parameter.grad = torch.ones(1)
    optimizer.step()
    return parameter.item() != 1.0


@pytest.mark.parametrize("name", [name for name in DYNAMICS if trains_without_epsilon(name)])
def test_optimizers_without_epsilon_divide_by_no_zero_that_is_not_in_the_model(tmp_path: Path, name: str) -> None:
    study = odd_study(tmp_path / "run", partial(class_named(name), lr=0.01, eps=0.0))
    assert "every bit the same" in str(study.verify_trajectory(samples=20))
    answer = study.verify(["early"], ["right"])
    assert np.isfinite(answer.effect.values).all() and np.isfinite(answer.step_effect.values).all()
    assert np.isfinite(answer.retrained_effect.values).all() and (answer.retrained_effect.values != 0).all()


# --- an intervention


@dataclass(frozen=True)
class Frozen:
    """The steps of the stage happen with a rate of zero."""

    resets_after: ClassVar[bool] = False
    decides_anew: ClassVar[bool] = False
    question: ClassVar[str] = "had the stage stood still"

    def vary(self, step: Step) -> Step:
        return replace(step, hyper=tuple({**hyper, "lr": 0.0} for hyper in step.hyper))


def test_an_intervention(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INTERVENTIONS, "frozen", Frozen)
    result = ask(run, "score early on seven under frozen()")
    same = ask(run, "score early on seven under scale_lr(factor=0)")
    assert result.dataset.effect.item() == same.dataset.effect.item()
    assert result.dataset.attrs["question"] == "how would the behavior differ had the stage stood still?"
    assert "frozen" in proposed("score early on seven under fr")
    assert "rate of zero" in helped("frozen")


# --- an estimator


@dataclass(frozen=True)
class Halved(Estimator):
    """Half of the exact effect."""

    factor: float = 0.5

    exact: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False
    additive: ClassVar[bool | None] = False

    def answer(self, history: History, query: Query, execution: Execution) -> Effects:
        return Effects(self.factor * Retraining().answer(history, query, execution).effect)

    def cost(self, history: History, query: Query) -> Cost:
        return Retraining().cost(history, query)


def test_an_estimator(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Halved(), Estimator)
    monkeypatch.setitem(ESTIMATORS, "halved", Halved)
    exact, half = (
        ask(run, f"score early on seven using {how}").dataset.effect.item() for how in ("retraining", "halved")
    )
    assert half == pytest.approx(exact / 2)
    assert "by halved(factor=0.5) under skip()" in ask(run, "explain score early on seven using halved()").plan
    assert "factor=" in proposed(f"{PROGRAM}score early on seven using halved(")
    assert "Half of the exact effect" in helped("estimators")


# --- a behavior


@dataclass(frozen=True)
class Entropy:
    """Entropy of the predicted classes, in nats."""

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "nats"
    limits: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        logs = model(examples[0]).log_softmax(1)
        return -(logs.exp() * logs).sum(1)


def test_a_behavior(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BEHAVIORS, "entropy", Entropy)
    result = ask(run, "behavior unsure = entropy on probes\nscore early on unsure")
    assert result.dataset.unit.item() == "nats" and not result.dataset.higher_is_better.item()
    assert "entropy" in proposed("behavior b = entr")
    assert "Entropy of the predicted" in helped("behaviors")


# --- a curvature


@dataclass(frozen=True)
class Damped:
    """The exact Hessian and a multiple of the identity."""

    damping: float = 0.0

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Any]) -> list[tuple[Tensor, Tensor]]:
        products = Exact().pullback(objective, point, cotangents)
        return [(p + self.damping * c, b) for (p, b), (c, _) in zip(products, cotangents, strict=True)]

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Any]) -> list[tuple[Tensor, Tensor]]:
        products = Exact().pushforward(objective, point, tangents)
        return [(p + self.damping * e, b) for (p, b), (e, _) in zip(products, tangents, strict=True)]


def test_a_curvature(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CURVATURES, "damped", Damped)
    exact, same, damped = (
        ask(run, f"score early on seven using first_order(curvature={how})").dataset.effect.item()
        for how in ("exact", "damped", "damped(damping=5)")
    )
    assert same == exact != damped
    assert "damped" in proposed(f"{PROGRAM}score early on seven using first_order(curvature=da")
    assert "damped(damping=0.0)" in helped("curvatures")


# --- a chart


@dataclass(frozen=True)
class Dots:
    """One dot a stage."""

    size: int = 30

    needs: ClassVar[tuple[Need, ...]] = (Need("effects of stages", ("effect",), "ask first: score … on …"),)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        values = [
            {"stage": str(s), "effect": float(v)}
            for s, v in zip(dataset.stage.values, dataset.effect.values[:, 0], strict=True)
        ]
        return alt.Chart(alt.InlineData(values=values)).mark_circle(size=self.size).encode(x="effect:Q", y="stage:N")


def test_a_chart(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHARTS, "dots", Dots)
    result = ask(run, "score early on seven\nplot dots(size=9)")
    assert result.charts[0].to_dict()["mark"]["size"] == 9
    assert "dots" in proposed(f"{PROGRAM}score early on seven\nplot do")
    assert "One dot a stage" in helped("dots") and "Draws effects of stages" in helped("dots")
    with pytest.raises(aadsl.AadslError, match="there is no answer to plot"):
        ask(run, "plot dots")


# --- a statement


@dataclass(frozen=True)
class Count(Statement):
    """Say how many steps a stage holds.

    count early
    """

    stages: tuple[Any, ...]
    within: Name | None

    def resolve(self, scope: Scope) -> Action | None:
        names = scope.all_names("stage", self.stages) if scope.needs_study(scope.span) else None
        return None if names is None else partial(self.run, names=names)

    def run(self, result: Result, names: tuple[str, ...]) -> None:
        result.say(", ".join(f"{name}: {int(result.study.stages[name].sum())}" for name in names))


def test_a_statement(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rule of the grammar, one class, one line of the table."""
    rules = rules_text().replace("?start: load |", "?start: count | load |")
    monkeypatch.setattr(parser_module, "rules_text", lambda: f"{rules}\ncount: _COUNT references [_WITHIN name]\n")
    monkeypatch.setitem(STATEMENTS, "count", (Count,))
    parser.cache_clear()
    try:
        assert ask(run, "count early").messages[-1] == "early: 7"
        assert "count" in parser().openers and "count" in proposed("cou")
        assert fields_at(cursor_at(parser(), "count ", 6)) == ("stages",)
        assert "Say how many steps" in helped("count") and "count" in helped("")
        with pytest.raises(aadsl.AadslError, match='line 5: no stage "earyl"'):
            ask(run, "count earyl")
        with pytest.raises(aadsl.AadslError, match="`count` is a word of the language"):
            aadsl.run("stage count = steps")
    finally:
        monkeypatch.undo()
        parser.cache_clear()


# --- an integration


class Callback:
    """What another library calls: before it begins, for each batch, and at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.recorder = aadsl.Recorder(self.path, model, optimizer)

    def batch(self, batch: tuple[Tensor, ...]) -> None:
        self.recorder.batch(batch)

    def end(self) -> None:
        self.recorder.close()


def test_an_integration(tmp_path: Path) -> None:
    model, callback = odd_network(), Callback(tmp_path / "run")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    callback.begin(model, optimizer)
    for step in range(6):
        batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(step)), torch.arange(4) % 3
        callback.batch(batch)
        optimizer.zero_grad()
        mean_loss(model, batch).backward()
        optimizer.step()
    callback.end()
    trajectory = aadsl.open_trajectory(tmp_path / "run")
    report = trajectory.verify(model=odd_network(), loss=mean_loss, samples=9, device="cpu")
    assert report.ok and "every bit the same" in str(report)
