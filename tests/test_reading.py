"""A behavior reads the model that it is given, of each counterfactual alike, and leaves nothing behind."""

from __future__ import annotations

import copy
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.core.generators import beginning_with
from tests.digits import Recorded, loss_fn, network, record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


def numbers_of(model: nn.Module, batch: Any) -> Tensor:
    return model(batch[0].flatten(1) if batch[0].dim() > 2 else batch[0])[:, 0]


READING: dict[str, Any] = {
    "its model": numbers_of,
    "how far it is from another": lambda model, batch: numbers_of(model, batch) - numbers_of(OTHER["net"], batch),
    "one weight": lambda model, batch: next(model.parameters()).flatten()[0].expand(len(batch[0])),
    "a weight outside of PyTorch": lambda model, batch: torch.full(
        (len(batch[0]),), float(np.abs(next(model.parameters()).data.numpy()).sum())
    ),
}
NOT_READING: dict[str, Any] = {
    "another model": lambda model, batch: numbers_of(OTHER["net"], batch),
    "what it read at first": lambda model, batch: _first_of(model, batch),
    "nothing": lambda model, batch: batch[0].flatten(1).sum(1),
}
OTHER: dict[str, nn.Module] = {}


@cache
def _remembered(model: nn.Module) -> list[Tensor]:
    return []


def _first_of(model: nn.Module, batch: Any) -> Tensor:
    """Return what was computed for this model, by its identity: it is always the same, with other weights."""
    remembered = _remembered(model)
    if not remembered:
        remembered.append(numbers_of(model, batch))
    return remembered[0]


@pytest.mark.parametrize("name", READING)
def test_a_behavior_reads_the_model_that_it_is_given(run: Recorded, name: str) -> None:
    OTHER["net"] = run.net
    study = run.study()
    study.stage("early", slice(0, 2))
    study.behavior("asked", READING[name], on=(run.data[0][:8], run.data[1][:8]))
    alone = numbers_of if name == "how far it is from another" else READING[name]
    study.behavior("alone", alone, on=(run.data[0][:8], run.data[1][:8]))
    effects = study.retrain(["early"], ["asked", "alone"]).effect.values[0]
    assert effects[0] == pytest.approx(effects[1], abs=1e-6) != 0


@pytest.mark.parametrize("name", NOT_READING)
@pytest.mark.parametrize("ask", ["score", "retrain", "step_effects", "examples"])
def test_a_behavior_that_reads_another_model_is_refused(run: Recorded, name: str, ask: str) -> None:
    """A lambda with a variable of the notebook in it, instead of its argument, has an effect of 0, exactly."""
    OTHER["net"] = run.net
    study = run.study()
    study.stage("early", slice(0, 2))
    study.behavior("asked", NOT_READING[name], on=(run.data[0][:8], run.data[1][:8]))
    asked: dict[str, Any] = {
        "score": lambda: study.score(["early"], ["asked"]),
        "retrain": lambda: study.retrain(["early"], ["asked"]),
        "step_effects": lambda: study.step_effects(["asked"]),
        "examples": lambda: study.examples(["early"], ["asked"]),
    }
    with pytest.raises(
        AadslError, match=r'behavior "asked" does not read the model .*\n.*lambda model, batch: model\('
    ):
        asked[ask]()


# --- what a behavior does to the model


def hooked(model: nn.Module, batch: Any) -> Tensor:
    model[1].register_forward_hook(lambda module, inputs, output: output * 1.5)
    return model(batch[0])[:, 0]


def with_another_layer(model: nn.Module, batch: Any) -> Tensor:
    model[2] = nn.Linear(16, 10)
    return model(batch[0])[:, 0]


def with_another_weight(model: nn.Module, batch: Any) -> Tensor:
    model[2].weight = nn.Parameter(2 * model[2].weight.detach())
    return model(batch[0])[:, 0]


def with_another_forward(model: nn.Module, batch: Any) -> Tensor:
    forward = model[1].forward
    model[1].forward = lambda x: 1.5 * forward(x)
    return model(batch[0])[:, 0]


def in_double_precision(model: nn.Module, batch: Any) -> Tensor:
    return model.double()(batch[0].double())[:, 0].float()


def ablated(model: nn.Module, batch: Any) -> Tensor:
    model[0].weight.data[:8] = 0
    return model(batch[0])[:, 0]


def without_requiring_gradients(model: nn.Module, batch: Any) -> Tensor:
    return model[0].requires_grad_(False) and numbers_of(model, batch)


def with_noise(model: nn.Module, batch: Any) -> Tensor:
    model.train()
    kept = (torch.rand(16) > 0.5) * float(np.random.rand() + random.random())
    return model[2](model[1](model[0](batch[0])) * kept)[:, 0]


MEDDLING = [
    hooked, with_another_layer, with_another_weight, with_another_forward, in_double_precision, ablated,
    without_requiring_gradients, with_noise,
]  # fmt: skip


@pytest.mark.parametrize("metric", MEDDLING, ids=lambda metric: metric.__name__)
def test_what_a_behavior_does_to_the_model_is_undone(run: Recorded, metric: Any, tmp_path: Path) -> None:
    """It is done once for each state, whatever was asked before, and nobody else meets it."""
    on, study = (run.data[0][:8], run.data[1][:8]), record(tmp_path / "run").study()
    study.stage("early", slice(2, 5))
    study.stage("late", slice(11, 14))
    study.behavior("meddling", metric, on=on)
    study.behavior("plain", numbers_of, on=on)

    def value(model: nn.Module) -> float:
        with beginning_with(0, ["cpu", "python", "numpy"]), torch.no_grad():
            return float(metric(copy.deepcopy(model), on).mean())

    before = torch.get_rng_state(), random.getstate()
    effects = [study.score([name], ["meddling"]).effect.item() for name in ("early", "early", "late")]
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    late = study.score(["late"], ["plain"]).effect.item()
    full = study.counterfactual("late"), study.counterfactual("early")
    assert effects[0] == effects[1] == pytest.approx(value(run.net) - value(full[1]), abs=1e-5) != 0
    assert effects[2] == pytest.approx(value(run.net) - value(full[0]), abs=1e-5)
    fresh = run.study()
    fresh.stage("late", slice(11, 14))
    fresh.behavior("plain", numbers_of, on=on)
    assert late == fresh.score(["late"], ["plain"]).effect.item()


def test_a_behavior_that_freezes_weights_has_no_gradient_of_all(run: Recorded) -> None:
    study = run.study()
    study.behavior("frozen", without_requiring_gradients, on=(run.data[0][:8], run.data[1][:8]))
    with pytest.raises(AadslError, match=r'"frozen" sets requires_grad=False.*\n.*retraining\(\)'):
        study.step_effects(["frozen"])


def zeroed(model: nn.Module, batch: Any) -> Tensor:
    with torch.no_grad():
        model[0].weight[:8] = 0
    return model(batch[0])[:, 0]


def zeroed_data(model: nn.Module, batch: Any) -> Tensor:
    model[0].weight.data.mul_(0)
    return model(batch[0])[:, 0]


def with_zeros(model: nn.Module, batch: Any) -> Tensor:
    changed = {"0.weight": torch.zeros_like(model[0].weight)}
    return torch.func.functional_call(model, changed, (batch[0],))[:, 0]


def test_a_behavior_that_writes_to_a_frozen_weight_is_refused_before_it_does(run: Recorded, tmp_path: Path) -> None:
    """A state of the run does not hold it, so nothing would put it back."""
    net, on = network(), (run.data[0][:8], run.data[1][:8])
    net[0].requires_grad_(False)
    optimizer = torch.optim.SGD(net[2].parameters(), lr=0.1)
    with aadsl.Recorder(tmp_path / "run", net, optimizer, data=run.data) as recorder:
        for t in range(8):
            rows = torch.arange(10 * t, 10 * t + 10)
            recorder.batch(indices=rows)
            optimizer.zero_grad()
            loss_fn(net, (run.data[0][rows], run.data[1][rows])).backward()
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(tmp_path / "run"), model=net, loss=loss_fn, data=run.data, device="cpu")
    study.stage("early", slice(2, 5))
    for metric in (zeroed, zeroed_data, with_zeros, numbers_of):
        study.behavior(metric.__name__, metric, on=on)
    for name in ("zeroed", "zeroed_data"):
        with pytest.raises(AadslError, match=r'writes to "0\.weight", which was not trained.*\n.*functional_call'):
            study.score(["early"], [name])
    without = study.counterfactual("early")
    for metric in (numbers_of, with_zeros):
        truth = float((metric(net, on) - metric(without, on)).mean().detach())
        assert study.score(["early"], [metric.__name__]).effect.item() == pytest.approx(truth, abs=1e-6) != 0
