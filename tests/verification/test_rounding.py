"""A run that was computed with other rounding passes, and what is wrong beside it is found and named nevertheless."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl.propagation import StepMap
from aadsl.replayed.history import History
from aadsl.trajectory import Recorder, open_trajectory
from aadsl.verification import Report
from aadsl.verification.rounding import rounding_of
from aadsl.verification.stretch import Stretch
from aadsl.verification.verify import verify_history
from tests.trajectory.forging import rewrite

INPUTS = torch.randn(300, 16, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(4, (300,), generator=torch.Generator().manual_seed(2))
DATA = (INPUTS, TARGETS)


class Otherwise(nn.Linear):
    """A linear layer that rounds otherwise than this machine does, whatever it is, as another number of threads would.

    A third of the outputs are a unit or two in the last place larger, a third smaller; which ones, their last bits say.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = F.linear(inputs, self.weight, self.bias)
        units = outputs.detach().view(torch.int32) % 3 - 1
        return outputs * (1 + torch.finfo(outputs.dtype).eps * units)


def model(linear: type[nn.Linear] = nn.Linear) -> nn.Module:
    torch.manual_seed(0)
    norms = (nn.BatchNorm1d(48), nn.ReLU())
    return nn.Sequential(linear(16, 48), *norms, linear(48, 48), nn.ReLU(), linear(48, 4))


def mean_loss(net: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def record(folder: Path, adam: bool, rate: float = 3e-3, steps: int = 51) -> None:
    net = model(Otherwise)
    optimizer = torch.optim.Adam(net.parameters(), rate) if adam else torch.optim.SGD(net.parameters(), rate, 0.9)
    generator = torch.Generator().manual_seed(3)
    with Recorder(folder, net, optimizer, DATA) as recorder:
        for _ in range(steps):
            indices = torch.randint(300, (32,), generator=generator)
            recorder.batch(indices=indices)
            optimizer.zero_grad()
            mean_loss(net, (INPUTS[indices], TARGETS[indices])).backward()
            optimizer.step()


def verified(folder: Path, loss: Any = mean_loss) -> Report:
    return open_trajectory(folder).verify(model(), loss, DATA, samples=30, device="cpu")


def smoothed(net: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1], label_smoothing=0.02)


def test_a_bias_before_a_normalization_goes_anywhere(tmp_path: Path) -> None:
    """Its gradient is rounding errors, which Adam scales to whole steps."""
    record(tmp_path, adam=True)
    report = verified(tmp_path)
    assert report.ok, report
    assert "as near as rounding lets them come; it alone decides the values of 0.bias" in str(report)


def test_sgd_needs_no_such_excuse(tmp_path: Path) -> None:
    record(tmp_path, adam=False, rate=0.05)
    report = verified(tmp_path)
    assert report.ok and "to within" in str(report), report


@pytest.mark.parametrize("adam", [True, False])
def test_another_loss_is_found_beside_it(adam: bool, tmp_path: Path) -> None:
    record(tmp_path, adam, 3e-3 if adam else 0.05)
    report = verified(tmp_path, smoothed)
    assert report.causes == ("other loss",) and "7 of 7 stretches do not fit" in str(report), report


def test_another_learning_rate_is_found_beside_it(tmp_path: Path) -> None:
    record(tmp_path, adam=True)
    rewrite(tmp_path / "steps-0-51.nc", {"lr": lambda old: 0.97 * old})
    report = verified(tmp_path)
    assert report.causes == ("other learning rate",), report
    assert "the learning rate was 0.003, not the recorded 0.00291" in str(report)


@pytest.mark.parametrize("place", [0, 100])
def test_a_changed_weight_is_found_beside_it(place: int, tmp_path: Path) -> None:
    record(tmp_path, adam=True)

    def change(old: Any) -> Any:
        old[place] += 0.5
        return old

    rewrite(tmp_path / "state-18.nc", {"parameters_float32": change})
    report = verified(tmp_path)
    assert report.causes == ("changed weight",) and '"0.weight"' in str(report), report


def stretch(folder: Path, start: int, stop: int, loss: Any = mean_loss) -> Stretch:
    history = History(open_trajectory(folder), model=model(), loss=loss, data=DATA, device="cpu")
    return Stretch(history, start, stop, 1e-4)


def test_what_rounding_does_is_foretold(tmp_path: Path) -> None:
    """Neither far too little, which would raise alarms, nor far too much, which would miss what is wrong."""
    record(tmp_path, adam=True)
    for start, stop in ((2, 8), (18, 32), (32, 50)):
        sound = rounding_of(stretch(tmp_path, start, stop))
        assert sound.explains and not sound.decides
        assert 0.2 < sound.rest.deviation / (sound.rest.tolerance / 5) < 2 or sound.rest.deviation < 1e-5
        other = rounding_of(stretch(tmp_path, start, stop, smoothed))
        # How far it stands out depends on how the machine rounds: by 3 to 400 times was seen.
        assert not other.explains and other.rest.deviation > 1.5 * other.rest.tolerance


class Logistic(nn.Module):
    """Numbers that gradient descent at rate 1 on :func:`chaotic` moves as the logistic map w' = 4w(1 − w) does.

    That doubles an error each step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.linspace(0.1, 0.4, 40))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.numbers


def chaotic(net: nn.Module, batch: Any) -> Tensor:
    numbers = net(batch[0])
    return (4 / 3 * numbers**3 - 1.5 * numbers**2).sum()


def record_chaos(folder: Path, states: Any = "sqrt", steps: int = 72) -> None:
    net = Logistic()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    with Recorder(folder, net, optimizer, DATA, states=states) as recorder:
        for _ in range(steps):
            recorder.batch(indices=[0])
            optimizer.zero_grad()
            numbers = net(INPUTS[:1])
            (numbers * numbers * (4 / 3 * numbers - 1.5)).sum().backward()
            optimizer.step()


def chaos_verified(folder: Path, loss: Any) -> Report:
    return open_trajectory(folder).verify(Logistic(), loss, DATA, device="cpu")


@pytest.mark.parametrize("factor", [0.2, 1.2, 20.0])
def test_chaos_and_overflow_are_no_excuse_and_no_other_cause(factor: float, tmp_path: Path) -> None:
    record_chaos(tmp_path, states=24)
    report = chaos_verified(tmp_path, lambda net, batch: factor * chaotic(net, batch))
    assert report.causes in (("other loss",), ("some steps differ",)), report


def test_where_rounding_decides_everything_a_replay_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a stretch is no failure where the run rounded otherwise, and one where it should have had the same bits."""
    record_chaos(tmp_path)
    assert chaos_verified(tmp_path, chaotic).causes == ("some steps differ",)
    recorded_with = int(open_trajectory(tmp_path).provenance["threads"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: recorded_with + 1)
    report = chaos_verified(tmp_path, chaotic)
    assert report.ok and "rounding decides where steps 18 … 31, 32 … 49 end, so" in str(report), report
    assert "and that of another as long or longer would not" in str(report)
    assert "18 steps in 4 stretches were replayed" in str(report)
    report = chaos_verified(tmp_path, lambda net, batch: 0.98 * chaotic(net, batch))
    assert report.causes == ("other loss or other lr",), report


@pytest.mark.parametrize(("otherwise", "factor"), [(True, 1.0), (False, 1.0), (True, 1.2)])
@pytest.mark.parametrize("states", ["sqrt", 250])
@pytest.mark.parametrize("spot", [False, True])
def test_a_check_costs_a_training_at_most_and_a_spot_check_a_twentieth(
    spot: bool, states: Any, otherwise: bool, factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where rounding decides everything. The search for the cause of what is wrong costs another training."""
    record_chaos(tmp_path, states=states, steps=300)
    monkeypatch.setattr("aadsl.verification.stretch._QUICK", 0)  # as if the network were large
    taken: list[int] = []
    advance = StepMap.advance
    monkeypatch.setattr(StepMap, "advance", lambda *given: taken.append(1) or advance(*given))
    threads = int(open_trajectory(tmp_path).provenance["threads"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + otherwise)
    given = {"model": Logistic(), "loss": lambda *batch: factor * chaotic(*batch), "data": DATA, "device": "cpu"}
    report = verify_history(History(open_trajectory(tmp_path), **given), None if spot else 8)
    if spot and states == 250:
        assert report.ok and "no step was replayed: the stored states lie too far apart" in str(report)
    elif factor != 1.0:
        assert not report.ok
    elif otherwise:
        assert report.ok, report
    assert len(taken) <= (15 if spot else 300) + (0 if report.ok else 340)


def test_what_an_answer_needs_is_compared_whatever_that_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rounding does to each stretch takes more steps than the run has."""
    record(tmp_path, adam=True)
    monkeypatch.setattr("aadsl.verification.stretch._QUICK", 0)  # as if the network were large
    history = History(open_trajectory(tmp_path), model=model(), loss=mean_loss, data=DATA, device="cpu")
    needed = list(pairwise(history.trajectory.checkpoints))
    report = verify_history(history, None, stretches=needed)
    assert report.ok and "not compared" not in str(report), report
    assert sorted((one.start, one.stop) for one in report.compared) == needed
