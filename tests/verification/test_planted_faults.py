"""Faults of users: a wrong loss, a gradient that was changed, another precision; each is planted, and named."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, Trajectory, open_trajectory
from aadsl.verification import Report
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, small_model

Loss = Callable[[nn.Module, Any], Tensor]


def plain(dropout: float = 0.0) -> nn.Module:
    """Return a network without normalization, so that each of its tensors has a gradient of its own."""
    return small_model(dropout, norm=False)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.02)


OPTIMIZERS = [sgd, momentum, adam]


def recorded(
    folder: Path,
    *,
    trained: Loss = mean_loss,
    model: nn.Module | None = None,
    make: Callable[[nn.Module], torch.optim.Optimizer] = sgd,
    after: Callable[[nn.Module], None] = lambda model: None,
    told: bool = False,
    rate: Callable[[int], float] = lambda step: 1.0,
    data: Any = DATA,
    parts: int = 1,
) -> Trajectory:
    """Train 20 steps; ``after`` sees the model between backward and step."""
    model = plain() if model is None else model
    optimizer = make(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(11)
    with Recorder(folder, model, optimizer, data) as recorder:
        for _ in range(20):
            optimizer.zero_grad()
            for indices in torch.randint(60, (8 * parts,), generator=generator).chunk(parts):
                loss = trained(model, (INPUTS[indices], TARGETS[indices]))
                (loss / parts).backward()
                recorder.batch(indices=indices, **({"loss": loss} if told else {}))
            after(model)
            optimizer.step()
            schedule.step()
    return open_trajectory(folder)


def verified(
    trajectory: Trajectory, loss: Loss = mean_loss, model: nn.Module | None = None, data: Any = DATA
) -> Report:
    model = plain() if model is None else model
    report = trajectory.verify(model=model, loss=loss, data=data, samples=30, device="cpu")
    assert isinstance(report, Report)
    assert "restore" not in str(report)  # the files are right
    return report


def summed(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_the_loss_is_a_sum(make: Any, parts: int, tmp_path: Path) -> None:
    report = verified(recorded(tmp_path / "mean", make=make, parts=parts), loss=summed)
    if parts > 1:  # weights of micro-batches are measured
        assert report.ok and verified(recorded(tmp_path / "sum", trained=summed, make=make, parts=parts)).ok
        return
    assert report.causes == ("other loss",)
    assert "the loss given is 8 times that of the run: a sum over the examples instead of the mean?" in str(report)
    report = verified(recorded(tmp_path / "sum", trained=summed, make=make, parts=parts))
    assert report.causes == ("other loss",) and "the loss of the run was 8 times this one: a sum" in str(report)


def test_micro_batches_that_were_added_up(tmp_path: Path) -> None:
    """By a backward pass that begins with something else than a number, of which the recorder sees no loss."""
    trained = lambda model, batch: 4 * mean_loss(model, batch).reshape(1)  # noqa: E731
    trajectory = recorded(tmp_path, trained=trained, make=adam, parts=4)
    report = verified(trajectory)
    assert report.causes == ("untold weights",) and "were added up, not averaged" in str(report), report


@pytest.mark.parametrize("make", [momentum, adam])
def test_a_loss_with_a_factor_is_no_clip(make: Any, tmp_path: Path) -> None:
    trained = lambda model, batch: 0.3 * mean_loss(model, batch) + 0  # noqa: E731
    report = verified(recorded(tmp_path, trained=trained, make=make))
    assert report.causes == ("other loss",) and "was 0.3 times this one" in str(report), report


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("told", [False, True])
def test_autocast(make: Any, dtype: str, told: bool, tmp_path: Path) -> None:
    """Of a loop that calls the layers, so that the recorder does not see the forward pass."""

    def lower(model: nn.Module, batch: Any) -> Tensor:
        with torch.autocast("cpu", getattr(torch, dtype)):
            scores = batch[0]
            for layer in model.children():
                scores = layer(scores)
            return F.cross_entropy(scores, batch[1])

    trajectory = recorded(tmp_path, trained=lower, make=make, told=told)
    report = verified(trajectory)
    assert report.causes == ("autocast",) and f"its loss under torch.autocast in {dtype}" in str(report), report
    assert verified(trajectory, loss=lower).ok


def test_autocast_of_the_model_alone(tmp_path: Path) -> None:
    def lower(model: nn.Module, batch: Any) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(batch[0])
        return F.cross_entropy(scores, batch[1])

    report = verified(recorded(tmp_path, trained=lower))
    assert report.causes == ("autocast",) and "its model under torch.autocast" in str(report), report


def masked(model: nn.Module) -> None:
    mask = torch.ones(5, 6)
    mask[2:] = 0
    model[0].weight.register_hook(lambda gradient: gradient * mask)


def centered(model: nn.Module) -> None:
    gradient = model[0].weight.grad
    gradient.sub_(gradient.mean(0, keepdim=True))


def clipped(model: nn.Module) -> None:
    nn.utils.clip_grad_norm_(model[4].parameters(), 0.05)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize(
    ("fault", "named"),
    [(masked, ['"0.weight" ends', "by a hook"]), (centered, ['"0.weight" ends', "between backward and step"]),
     (clipped, ['"4.weight", "4.bias" end', "as by clipping a part of the model"])],
)  # fmt: skip
def test_a_changed_gradient(make: Any, fault: Any, named: list[str], tmp_path: Path) -> None:
    model = plain()
    if fault is masked:
        fault(model)
    report = verified(recorded(tmp_path, model=model, make=make, after=(lambda _: None) if fault is masked else fault))
    assert report.causes == ("changed gradient",), report
    assert all(words in str(report) for words in named), report


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_warmup_from_zero_hides_no_wrong_loss(make: Any, tmp_path: Path) -> None:
    """The first step moves no weight, but what Adam keeps tells of the loss; what moves nothing tells nothing."""

    def weighted(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], weight=torch.tensor([1.0, 5.0, 0.2]))

    trajectory = recorded(tmp_path, trained=weighted, make=make, rate=lambda step: min(1, step / 10))
    report = verified(trajectory)
    assert report.causes == ("other loss",), report
    assert verified(trajectory, loss=weighted).ok


class LayerDrop(nn.Module):
    """A layer that is skipped now and then, as ``draw`` says."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.rest, self.draw = nn.Linear(6, 6), plain(), draw

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(x if self.draw() < 0.5 else x + torch.tanh(self.layer(x)))


@pytest.mark.parametrize("whose", ["Python", "NumPy"])
def test_random_numbers_of_the_forward_pass_are_replayed(whose: str, tmp_path: Path) -> None:
    model = LayerDrop({"Python": random.random, "NumPy": lambda: np.random.rand()}[whose])
    assert verified(recorded(tmp_path, model=model), model=model).ok


@pytest.mark.parametrize("whose", ["Python", "NumPy", "its own"])
def test_random_numbers_that_are_not_recorded(whose: str, tmp_path: Path) -> None:
    own = torch.Generator().manual_seed(0)
    draws = {
        "Python": random.random,
        "NumPy": lambda: np.random.rand(),
        "its own": lambda: float(torch.rand((), generator=own)),
    }
    model = plain()

    def smoothed(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=draws[whose]())

    report = verified(recorded(tmp_path, model=model, trained=smoothed), model=model, loss=smoothed)
    assert report.causes == ("other random numbers",), report
    assert ("two replays" if whose == "its own" else f"{whose}'s") in str(report)


@pytest.mark.parametrize(("trained", "given"), [(0.2, 0.5), (0.5, 0.2), (0.0, 0.3), (0.3, 0.0)])
def test_another_rate_of_dropout(trained: float, given: float, tmp_path: Path) -> None:
    report = verified(recorded(tmp_path, model=plain(trained)), model=plain(given))
    assert report.causes == ("other dropout rate",), report
    assert f"the run was p={trained:g}, that of the model given is p={given}" in str(report)


@pytest.mark.parametrize("count", [3, 60])
def test_other_labels(count: int, tmp_path: Path) -> None:
    trajectory = recorded(tmp_path)
    labels = TARGETS.clone()
    labels[:count] = (labels[:count] + 1) % 3
    report = verified(trajectory, data=(INPUTS, labels))
    assert report.causes == ("other labels",) and "the inputs are the same" in str(report), report
    assert f"the labels of {2 if count == 3 else 32} of 32 sampled examples" in str(report), report


def test_some_other_examples_are_not_called_shuffled(tmp_path: Path) -> None:
    trajectory = recorded(tmp_path)
    inputs = INPUTS.clone()
    inputs[:5] = 0
    report = verified(trajectory, data=(inputs, TARGETS))
    assert report.causes == ("other data",) and "the rest is where it was" in str(report), report


def test_data_of_recordings_without_digests_of_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aadsl.trajectory.store import fingerprints

    with monkeypatch.context() as patch:
        digest = fingerprints.example_digest
        patch.setattr(fingerprints, "example_digest", lambda *given: digest(*given).split(" ")[0])
        trajectory = recorded(tmp_path)
    assert verified(trajectory).ok
    assert verified(trajectory, data=(INPUTS, (TARGETS + 1) % 3)).causes == ("other data",)


class Tied(nn.Module):
    """Two layers, of one weight or of two."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        if tied:
            self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.b(torch.tanh(self.a(x)))))


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights(tied: bool, tmp_path: Path) -> None:
    trajectory = recorded(tmp_path, model=Tied(tied))
    assert verified(trajectory, model=Tied(tied)).ok
    report = verified(trajectory, model=Tied(not tied))
    assert report.causes == ("model or data",), report
    assert '"a.weight" and "b.weight"' in str(report) and ("model.b.weight = model.a.weight" in str(report)) == tied


class Normalizing(nn.Module):
    """A running mean that is kept by assignment, as normalizers and codebooks do it."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = plain()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.rest(x - self.mean)  # type: ignore[no-any-return]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_buffer_that_is_kept_by_assignment_is_replayed(parts: int, tmp_path: Path) -> None:
    report = verified(recorded(tmp_path, model=Normalizing(), make=momentum, parts=parts), model=Normalizing())
    assert report.ok and "every bit the same" in str(report), report


def test_a_lost_answer_names_no_files(tmp_path: Path) -> None:
    with pytest.raises(AadslError, match="sum over the examples"):
        verified(recorded(tmp_path), loss=summed).require()
