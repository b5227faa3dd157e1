"""Random numbers that a loss draws before it calls the model, from global generators or from a program's own."""

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

import aadsl
from aadsl.core.errors import AadslError
from aadsl.core.generators import as_tensor, kind_of_generator, reseeded, set_state, state_of
from aadsl.trajectory import Recorder, open_trajectory

INPUTS = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(3, (60,), generator=torch.Generator().manual_seed(2))
DATA = (INPUTS, TARGETS)
STEPS = 24

Loss = Callable[[nn.Module, Any], Tensor]


class Shaken(nn.Module):
    """A network that adds noise from a generator of its own, and drops out."""

    def __init__(self, generator: np.random.Generator | None, dropout: float = 0.2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 3))
        self.generator = generator

    def forward(self, inputs: Tensor) -> Tensor:
        if self.generator is not None and self.training:
            inputs = inputs + torch.from_numpy(self.generator.normal(0, 0.2, inputs.shape)).float()
        outputs: Tensor = self.layers(inputs)
        return outputs


def train(
    recorder: Recorder | None, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, without: range = range(0)
) -> nn.Module:
    """Announce batches before their forward passes; of steps that are left out draw what they draw, and no more."""
    torch.manual_seed(5)
    random.seed(6)
    np.random.seed(7)
    for step in range(STEPS):
        rows = torch.arange(5 * step, 5 * step + 5) % 60
        optimizer.zero_grad()
        if recorder is not None:
            recorder.batch(indices=rows)
        loss(model, (INPUTS[rows], TARGETS[rows])).backward()
        if step not in without:
            optimizer.step()
    return model


def right(model: nn.Module) -> float:
    with torch.no_grad():
        return -F.cross_entropy(model.eval()(INPUTS), TARGETS).item()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def exact(trajectory: aadsl.Trajectory, **given: Any) -> float:
    study = aadsl.Study(trajectory, data=DATA, device="cpu", **given)
    report = study.verify_trajectory()
    assert report.ok and "every bit the same" in str(report), report
    study.stage("middle", slice(10, 13))
    study.behavior("right", "log_likelihood", on=DATA)
    answer = study.score(["middle"], ["right"])
    assert answer.exact.values.all()
    return float(answer.effect.item())


def own() -> list[Any]:
    return [torch.Generator().manual_seed(3), np.random.default_rng(4), random.Random(5)]


def noisy_loss(generators: list[Any]) -> Loss:
    torch_own, _, python_own = generators

    def loss(model: nn.Module, batch: Any) -> Tensor:
        noise = torch.randn(batch[0].shape, generator=torch_own) * python_own.uniform(0.1, 0.3)
        return F.cross_entropy(model(batch[0] + noise), batch[1])

    return loss


def test_own_generators_are_where_they_were_in_each_replayed_step(tmp_path: Path) -> None:
    generators = own()
    model = Shaken(generators[1])
    with Recorder(tmp_path / "run", model, sgd(model), DATA, generators=generators) as recorder:
        train(recorder, model, recorder._subject.optimizers[0], noisy_loss(generators))
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.provenance["generators"] == (
        "torch.Generator on cpu, numpy.random.Generator of PCG64, random.Random"
    )
    assert trajectory.rng_states(3)[0].keys() == {"cpu", "own1"}, "drawn in the forward pass"
    assert trajectory.announced_rng_states(3)[0].keys() == {"own0", "own2"}, "drawn before it"

    anew = own()
    effect = exact(trajectory, model=Shaken(anew[1]), loss=noisy_loss(anew), generators=anew)
    before = [state_of(one) for one in anew]
    assert before == [state_of(one) for one in own()], "what is replayed leaves them as they were"
    ends = []
    for without in (range(0), range(10, 13)):
        plain = own()
        net = Shaken(plain[1])
        ends.append(right(train(None, net, sgd(net), noisy_loss(plain), without)))
    assert effect == pytest.approx(ends[0] - ends[1], abs=1e-6) != 0

    given = {"model": Shaken(anew[1]), "loss": noisy_loss(anew), "data": DATA}
    assert trajectory.verify(**given, generators=anew).ok and not trajectory.verify(**given).ok
    report = aadsl.Study(trajectory, **given).verify_trajectory()
    assert not report.ok and "and generators= is not given" in str(report)
    with pytest.raises(AadslError, match="and the run was recorded with"):
        aadsl.Study(trajectory, model=Shaken(None), loss=noisy_loss(anew), data=DATA, generators=anew[2:])
    with pytest.raises(AadslError, match="generators= are objects of this process"):
        aadsl.Study(trajectory, model=Shaken(None), loss=noisy_loss(anew), data=DATA, generators=anew, workers=1)


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
def test_noise_before_the_model_is_called_needs_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """The batch was announced before it, and the recorded losses tell that it was drawn in between, however long."""
    monkeypatch.setattr("aadsl.trajectory.record.watch._WARY", 3)
    monkeypatch.setattr("aadsl.trajectory.record.looks._FEW", 3)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        draws: dict[str, Callable[[], Any]] = {
            "torch": lambda: torch.randn_like(batch[0]),
            "numpy": lambda: torch.from_numpy(np.random.normal(size=batch[0].shape)).float(),
            "python": lambda: random.gauss(0, 1),
        }
        return F.cross_entropy(model(batch[0] + 0.3 * draws[source]()), batch[1])

    model = Shaken(None, dropout=0.0)
    with Recorder(tmp_path / "run", model, sgd(model), DATA) as recorder:
        train(recorder, model, recorder._subject.optimizers[0], loss)
    ends = []
    for without in (range(0), range(10, 13)):
        net = Shaken(None, dropout=0.0)
        ends.append(right(train(None, net, sgd(net), loss, without)))
    effect = exact(open_trajectory(tmp_path / "run"), model=Shaken(None, dropout=0.0), loss=loss)
    assert effect == pytest.approx(ends[0] - ends[1], abs=1e-6) != 0


def test_numbers_that_the_loop_draws_for_itself_are_not_the_loss(tmp_path: Path) -> None:
    """Drawn between the announcement and the forward pass, but by the loop: dropout begins after it."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def in_loop(model: nn.Module, batch: Any) -> Tensor:
        torch.rand(3)
        return loss(model, batch)

    model = Shaken(None)
    with Recorder(tmp_path / "run", model, sgd(model), DATA) as recorder:
        train(recorder, model, recorder._subject.optimizers[0], in_loop)
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.announced_rng_states(2)[0].keys() == {"cpu"}
    exact(trajectory, model=Shaken(None), loss=loss)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.Generator().manual_seed(1),
        lambda: np.random.RandomState(1),
        lambda: random.Random(1),
        *(lambda kind=kind: np.random.Generator(kind(1)) for kind in (np.random.MT19937, np.random.Philox)),
        *(lambda kind=kind: np.random.Generator(kind(1)) for kind in (np.random.SFC64, np.random.PCG64DXSM)),
    ],
)
def test_states_are_kept_whole(make: Callable[[], Any]) -> None:
    def draw(one: Any) -> Any:
        return torch.rand(3, generator=one).tolist() if isinstance(one, torch.Generator) else one.random()

    one = make()
    draw(one)
    state = as_tensor(state_of(one))
    ahead = [draw(one), draw(one)]
    assert kind_of_generator(one) and not torch.equal(reseeded(one, 5), reseeded(one, 6))
    other = make()
    set_state(other, state)
    assert [draw(other), draw(other)] == ahead
    with pytest.raises(AadslError, match="no state of it"):
        set_state(one, torch.zeros(3, dtype=torch.uint8))


def test_what_is_no_generator_is_refused(tmp_path: Path) -> None:
    model = Shaken(None)
    with pytest.raises(AadslError, match="int is no random generator"):
        Recorder(tmp_path / "run", model, sgd(model), generators=[3])
