"""Whatever a batch is made of, skipping steps has the effect that a loop without them has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import aadsl
from aadsl.interventions import INTERVENTIONS, counterfactual
from aadsl.propagation import ensemble
from aadsl.replayed.history import History

generator = torch.Generator().manual_seed(0)
X = torch.randn(80, 6, generator=generator)
Y = (X @ torch.randn(6, 3, generator=generator)).argmax(1)
WORDS = torch.randint(0, 20, (80, 4), generator=generator)
STEPS, SKIPPED = 8, (2, 3)

Loss = Callable[[nn.Module, Any], Tensor]


class Named(NamedTuple):
    x: Tensor
    y: Tensor


class Bag(nn.Module):
    """Words, padded by 0, of any length."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(20, 6, mode="sum", padding_idx=0, sparse=sparse)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.embed(x))
        return out


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def bag(sparse: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Bag(sparse)


def rows(step: int, part: int = 0, count: int = 8) -> Tensor:
    return (torch.arange(count) * 3 + 7 * step + 29 * part) % 80


def graph(step: int) -> dict[str, Tensor]:
    edges = torch.randint(0, 30, (2, 50), generator=torch.Generator().manual_seed(step))
    return {"x": X[step : step + 30], "edge_index": edges, "graph": torch.arange(30) // 6, "y": Y[step : step + 5]}


def graph_loss(model: nn.Module, batch: Any) -> Tensor:
    h = batch["x"].index_add(0, batch["edge_index"][1], batch["x"][batch["edge_index"][0]])
    return F.cross_entropy(model(torch.zeros(5, 6).index_add(0, batch["graph"], h)), batch["y"])


def popping(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch.pop("y"))


class Case(NamedTuple):
    """What a loop does in a step: micro-batches, their loss and the weights of it."""

    batches: Callable[[int], Sequence[Any]]
    loss: Loss
    model: Callable[[], nn.Module] = dense
    weights: Sequence[float] = ()


def pair(r: Tensor) -> tuple[Tensor, Tensor]:
    return X[r], Y[r]


def of_pair(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def shown(r: Tensor) -> list[dict[str, Tensor]]:
    return [{"y": y, "box": torch.ones(int(y), 4)} for y in Y[r]]


CASES = {
    "padded": Case(lambda t: [(F.pad(WORDS[rows(t, p)], (0, p)), Y[rows(t, p)]) for p in (0, 3)], of_pair, bag),
    "time-major": Case(lambda t: [(X[rows(t)].t(), Y[rows(t)])], lambda m, b: of_pair(m, (b[0].t(), b[1]))),
    "graph": Case(lambda t: [graph(t)], graph_loss),
    "nested": Case(lambda t: [((X[rows(t)], X[rows(t)]), Y[rows(t)])], lambda m, b: of_pair(m, (b[0][1], b[1]))),
    "listed": Case(lambda t: [[*pair(rows(t))]], of_pair),
    "tensor": Case(lambda t: [X[rows(t)]], lambda m, b: m(b).square().mean()),
    "named": Case(lambda t: [Named(*pair(rows(t)))], lambda m, b: of_pair(m, (b.x, b.y))),
    "text and None": Case(
        lambda t: [{"x": X[rows(t)], "y": Y[rows(t)], "id": ["a"] * 8, "mask": None}],
        lambda m, b: of_pair(m, (b["x"], b["y"])) * (b["id"] == ["a"] * 8),
    ),
    "popped": Case(lambda t: [dict(zip("xy", pair(rows(t)), strict=True))], popping),
    "list of dicts": Case(
        lambda t: [(X[rows(t)], shown(rows(t)))], lambda m, b: of_pair(m, (b[0], torch.stack([d["y"] for d in b[1]])))
    ),
    "arrays": Case(
        lambda t: [(X[rows(t)].numpy(), Y[rows(t)].numpy())], lambda m, b: of_pair(m, tuple(map(torch.as_tensor, b)))
    ),
    "weighted": Case(lambda t: [pair(rows(t, 0, 24)), pair(rows(t, 1, 8))], of_pair, dense, (0.75, 0.25)),
    "added": Case(lambda t: [pair(rows(t, p)) for p in range(3 - t % 2)], of_pair, dense, (1.0, 1.0, 1.0)),
    "sparse gradients": Case(lambda t: [(WORDS[rows(t)], Y[rows(t)])], of_pair, lambda: bag(sparse=True)),
}


def trained(case: Case, recorder: Callable[[Any, Any], Any] | None = None, skipped: Sequence[int] = ()) -> nn.Module:
    """Train by a plain loop; where ``recorder`` makes one, it is told of each batch."""
    model = case.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    recording = recorder and recorder(model, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        batches = case.batches(step)
        for position, batch in enumerate(batches):
            told = {"weight": case.weights[position]} if case.weights else {}
            if recording:
                recording.batch(batch, **told)
            (case.loss(model, batch) * told.get("weight", 1 / len(batches))).backward()
        if step not in skipped:
            optimizer.step()
    if recording:
        recording.close()
    return model


def read(model: nn.Module) -> float:
    with torch.no_grad():
        inputs = WORDS if isinstance(model, Bag) else X
        return float(-F.cross_entropy(model(inputs), Y))


@pytest.mark.parametrize("name", CASES)
def test_skipping_steps_has_the_effect_of_a_loop_without_them(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    observed = trained(case, lambda model, optimizer: aadsl.Recorder(tmp_path / "run", model, optimizer))
    wanted = read(observed) - read(trained(case, skipped=SKIPPED))
    trajectory = aadsl.open_trajectory(tmp_path / "run")
    assert not trajectory.violations()
    study = aadsl.Study(trajectory, model=case.model(), loss=case.loss, device="cpu")
    study.stage("skipped", list(SKIPPED))
    inputs = WORDS if name in ("padded", "sparse gradients") else X
    study.behavior("probe", "log_likelihood", on=(inputs, Y))
    result = study.retrain(["skipped"], ["probe"])
    assert result.effect.item() == pytest.approx(wanted, abs=1e-6) and abs(wanted) > 1e-4
    assert study.verify_trajectory().ok


@pytest.mark.parametrize("name", ["nested", "list of dicts", "arrays", "weighted", "added", "padded"])
def test_runs_that_advance_together_read_the_same_batches(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    trained(case, lambda model, optimizer: aadsl.Recorder(tmp_path / "run", model, optimizer))
    history = History(aadsl.open_trajectory(tmp_path / "run"), model=case.model(), loss=case.loss, device="cpu")
    members = [torch.isin(torch.arange(STEPS), torch.tensor(stage)).numpy() for stage in (SKIPPED, (5,))]
    varied = [counterfactual(INTERVENTIONS["skip"](), member) for member in members]
    ends = {end.position: end for end in ensemble(history, history.step_map, varied, [2, 5], size=2)}
    for position, stage in enumerate((SKIPPED, (5,))):
        alone = dict(trained(case, skipped=stage).named_parameters())
        layout = history.objective.parameters
        flat = layout.flatten([alone[name] for name in layout.names], torch.zeros(1))
        torch.testing.assert_close(ends[position].state.parameters, flat.detach(), rtol=1e-5, atol=1e-6)
