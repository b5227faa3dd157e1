"""What single examples of a step did: scores against finite differences of true trainings, rows against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.dynamics import DYNAMICS
from aadsl.propagation import Exact, example_shares, example_sweep
from aadsl.propagation.example_rows import weighted
from tests.engine.tiny import TinyRun, loss, network, tiny_run
from tests.engine.tiny_studies import normalized
from tests.optimizers import OF_SIGNS

STEP, ROW, H = 3, 2, 1e-5


def sized(run: TinyRun) -> TinyRun:
    """Say of each step how many examples its micro-batches have, as a recording does."""
    run.steps = [replace(step, sizes=tuple(len(y) for _, y in step.batches())) for step in run.steps]
    return run


def swept(run: TinyRun, wanted: list[int]) -> dict[int, np.ndarray]:
    mask = np.isin(np.arange(run.length), wanted)
    start = [run.readout.cotangent(run.states[-1])]
    return dict(example_sweep(run, run.step_map, start, Exact(), wanted=mask))


def by_hand(run: TinyRun, weight: float, monkeypatch: pytest.MonkeyPatch, row: int = ROW) -> float:
    """γ at the end of a whole training in which the loss of one example counts ``weight`` times at one step.

    The loss is written with weights of its own, as anyone would; the optimizer's steps are the engine's, which have
    PyTorch's bits (tests/engine/test_dynamics.py).
    """

    def weighted(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        each = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        weights = torch.ones_like(each)
        weights[row % len(each)] = weight
        return (weights * each).sum() / len(each)

    state = run.states[STEP]
    objective = run.step_map.objective
    for step in run.steps[STEP:]:
        with monkeypatch.context() as patch:
            if step.index == STEP:
                patch.setattr(objective, "loss", weighted)
            state = run.step_map(state, step)
    return float(run.readout.values(state).mean())


def finite_difference(run: TinyRun, row: int, monkeypatch: pytest.MonkeyPatch) -> float:
    ahead, behind = (by_hand(run, 1 + h, monkeypatch, row) for h in (H, -H))
    return (ahead - behind) / (2 * H)


@pytest.mark.parametrize("clip", [None, Clip("norm", 0.3)], ids=["", "clipped"])
@pytest.mark.parametrize("optimizer", DYNAMICS)
def test_a_score_is_the_derivative_of_the_training_in_the_examples_weight(
    optimizer: str, clip: Clip | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sized(tiny_run(optimizer, length=6, clip=clip))
    found = swept(run, [STEP])[STEP][0]
    for row in (0, ROW):
        assert found[row] == pytest.approx(finite_difference(run, row, monkeypatch), rel=1e-6, abs=1e-9)
    # The sign of a gradient does not change with it.
    assert (np.abs(found).max() > 1e-6) == (optimizer not in OF_SIGNS)


def test_batch_statistics_are_differentiated_through(monkeypatch: pytest.MonkeyPatch) -> None:
    run = sized(tiny_run("SGD", length=6, model=normalized()))
    found = swept(run, [STEP])[STEP][0]
    assert found[ROW] == pytest.approx(finite_difference(run, ROW, monkeypatch), rel=1e-6)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_step_without_an_example_is_the_one_with_a_loss_that_leaves_it_out(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sized(tiny_run(optimizer, length=6))
    state = run.step_map(run.states[STEP], replace(run.steps[STEP], left_out=((ROW,),)))
    for step in run.steps[STEP + 1 :]:
        state = run.step_map(state, step)
    assert float(run.readout.values(state).mean()) == pytest.approx(by_hand(run, 0.0, monkeypatch), rel=1e-13)


def test_the_shares_of_all_examples_of_all_micro_batches_are_the_gradient() -> None:
    run = sized(tiny_run("SGD", micro=3, length=2))
    state, step = run.states[0], run.steps[0]
    shares = list(example_shares(run.step_map.objective, state, step))
    assert len(shares) == 15
    torch.testing.assert_close(sum(shares), run.step_map.evaluate(state, step).gradient)
    left = [(), (4,), ()]
    without = run.step_map.evaluate(state, replace(step, left_out=tuple(left))).gradient
    torch.testing.assert_close(without, sum(shares) - shares[9])


class Inside(nn.Module):
    """Computes its loss itself, as models of Hugging Face do, and returns it beside what its head said."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4).double(), nn.Linear(4, 3).double()

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        hidden = self.body(x).tanh()
        logits = self.head(hidden)
        return {"loss": nn.functional.cross_entropy(logits, y), "logits": logits, "hidden": hidden}


class Flat(Inside):
    """Forgets which rows are whose before its head."""

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        pieces = self.head(self.body(x).tanh().repeat_interleave(2, 0))
        return {"loss": nn.functional.cross_entropy(pieces, y.repeat_interleave(2))}


X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 1, 0])


def penalized(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return loss(model, batch) + 0.1 * sum((p**2).sum() for p in model.parameters())  # type: ignore[no-any-return]


def twice(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return loss(model, batch) + loss(model, (batch[0] + 0.1, batch[1]))


def within(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return model(*batch)["loss"]  # type: ignore[no-any-return]


LOSSES = {"penalty": (network, penalized), "two passes": (network, twice), "inside the model": (Inside, within)}


@pytest.mark.parametrize("name", LOSSES)
def test_rows_are_found_wherever_the_loss_reads_them(name: str) -> None:
    torch.manual_seed(3)
    make, function = LOSSES[name]
    model = make()
    weights = torch.ones(5, dtype=torch.float64)
    weights[ROW] = 0.0
    names = [n for n, _ in model.named_parameters()]
    found = torch.autograd.grad(weighted(model, lambda: function(model, (X, Y)), weights), [*model.parameters()])
    kept = [0, 1, 3, 4]
    left = function(model, (X[kept], Y[kept]))
    penalty = penalized(model, (X, Y)) - loss(model, (X, Y)) if name == "penalty" else 0.0
    expected = torch.autograd.grad((left - penalty) * 4 / 5 + penalty, [*model.parameters()])
    for which, one, other in zip(names, found, expected, strict=True):
        torch.testing.assert_close(one, other, msg=which)


def test_rows_that_are_nobodys_are_refused_with_the_module_that_lost_them() -> None:
    model = Flat()
    with pytest.raises(AadslError, match=r"head returned \(10, 3\) for 5 examples, not a row for each"):
        weighted(model, lambda: within(model, (X, Y)), torch.ones(5, dtype=torch.float64))
    free = torch.zeros(3, requires_grad=True)
    with pytest.raises(AadslError, match="reads nothing that a module returned"):
        weighted(model, lambda: (free**2).sum(), torch.ones(5))
