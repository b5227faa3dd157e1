"""Whatever hangs on a model, an answer is that of the training loop without the steps."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.copies import copied
from aadsl.estimators import FirstOrder
from aadsl.propagation import CentralDifference
from aadsl.replayed.parcels import pickled, unpickled
from aadsl.replayed.run_spec import RunSpec
from tests.models import MODELS, WRAPPERS, Net, Owned, Statistics, changed, lazy, made

STEPS, BATCH, SKIPPED = 12, 16, range(3, 6)
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(STEPS * BATCH, 6, generator=GENERATOR)
Y = torch.randint(0, 3, (STEPS * BATCH,), generator=GENERATOR)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def log_likelihood(model: nn.Module) -> float:
    with torch.no_grad():
        return -float(loss(model.eval(), (X, Y)))


def train(model: nn.Module, skipped: range = range(0), path: Path | None = None) -> nn.Module:
    """Train by a plain loop that does not take the skipped steps; recorded where there is a path."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    recorder = None if path is None else aadsl.Recorder(path, model, optimizer, data=(X, Y))
    for t in range(STEPS):
        if t in skipped:
            continue
        rows = np.arange(t * BATCH, (t + 1) * BATCH)
        optimizer.zero_grad()
        loss(model.train(), (X[rows], Y[rows])).backward()
        if recorder:
            recorder.batch(indices=rows)
        optimizer.step()
    if recorder:
        recorder.close()
    return model


def study(path: Path, model: nn.Module, **options: Any) -> aadsl.Study:
    study = aadsl.Study(aadsl.open_trajectory(path), model=model, loss=loss, data=(X, Y), device="cpu", **options)
    study.stage("skipped", SKIPPED)
    study.behavior("all", "log_likelihood", on=(X, Y))
    return study


def require_the_truth(study: aadsl.Study, full: nn.Module, without: nn.Module) -> None:
    truth = log_likelihood(full) - log_likelihood(without)
    assert abs(truth) > 1e-4
    assert study.retrain(["skipped"], ["all"]).effect.item() == pytest.approx(truth, abs=1e-6)
    assert log_likelihood(study.counterfactual("skipped")) == pytest.approx(log_likelihood(without), abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_trained_model_and_a_fresh_one_give_the_effect_of_the_loop(name: str, tmp_path: Path) -> None:
    make = MODELS[name]
    full, without = train(made(make), path=tmp_path / "run"), train(made(make), SKIPPED)
    before = {key: value.clone() for key, value in full.state_dict().items()}
    require_the_truth(study(tmp_path / "run", full), full, without)
    assert all(torch.equal(before[key], value) for key, value in full.state_dict().items())
    require_the_truth(study(tmp_path / "run", made(make)), full, without)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_and_what_is_in_it_are_the_same(name: str, tmp_path: Path) -> None:
    full, without = train(WRAPPERS[name](made(Net)), path=tmp_path / "run"), train(made(Net), SKIPPED)
    for given in (full, made(Net), WRAPPERS[name](made(Net))):
        asked = study(tmp_path / "run", given)
        require_the_truth(asked, full, without)
        counterfactual = asked.counterfactual("skipped")
        assert type(counterfactual) is Net
        made(Net).load_state_dict(counterfactual.state_dict())
    asked.save_counterfactual(tmp_path / "without.safetensors", "skipped")
    bare = made(Net)
    train(bare, path=tmp_path / "bare")
    require_the_truth(study(tmp_path / "bare", WRAPPERS[name](made(Net))), bare, without)


@pytest.mark.parametrize("name", [*MODELS, *WRAPPERS])
def test_the_identity_of_a_run_stays_when_forward_passes_leave_something_behind(name: str, tmp_path: Path) -> None:
    full = train(WRAPPERS[name](made(Net)) if name in WRAPPERS else made(MODELS[name]), path=tmp_path / "run")
    asked = study(tmp_path / "run", full)
    before = asked._answering.identifier
    identity = before.now()
    asked.retrain(["skipped"], ["all"])
    assert before.now() == identity
    assert identity.digest is not None or name in ("machinery", "prepared")  # these hold locks
    assert study(tmp_path / "run", full)._answering.identifier.now() == identity


@pytest.mark.parametrize("name", ["gradient hook", "activation", "features", "LSTM", "compiled", "compiled in part"])
def test_workers_have_the_model_as_it_is_here(name: str, tmp_path: Path) -> None:
    full = train(WRAPPERS[name](made(Net)) if name in WRAPPERS else made(MODELS[name]), path=tmp_path / "run")
    spec = RunSpec(aadsl.open_trajectory(tmp_path / "run"), full, loss, (X, Y), "cpu")
    here, there = spec.history(), unpickled(pickled(spec), "").history()
    assert pickled(spec) == pickled(spec)
    assert torch.equal(here.final.parameters, there.final.parameters)
    start, step = here.state(0), here.step(0)
    assert torch.equal(here.step_map(start, step).parameters, there.step_map(start, step).parameters)


def test_estimates_know_of_hooks_on_gradients(tmp_path: Path) -> None:
    make = changed(lambda layer: layer.weight.register_hook(lambda gradient: gradient * torch.linspace(0, 1, 6)))
    train(made(make), path=tmp_path / "run")
    asked = study(tmp_path / "run", made(make))
    scaled = aadsl.interventions.INTERVENTIONS["scale_lr"](factor=0.999)
    exact = asked.retrain(["skipped"], ["all"], intervention=scaled).effect.item()
    estimate = asked.score(["skipped"], ["all"], intervention=scaled, estimator="first_order").effect.item()
    assert estimate == pytest.approx(exact, rel=0.02)
    differences = FirstOrder(curvature=CentralDifference())
    with pytest.raises(aadsl.AadslError, match=r'"net\.0\.weight" has a hook'):
        asked.score(["skipped"], ["all"], estimator=differences)


def test_a_lazy_model_that_has_seen_no_input_is_refused(tmp_path: Path) -> None:
    unseen = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
    with pytest.raises(aadsl.AadslError, match=r'"0\.weight" of the model has no shape yet.*\n.*call the model once'):
        aadsl.Recorder(tmp_path / "other", unseen, torch.optim.SGD(unseen.parameters(), lr=0.1))
    train(made(lazy), path=tmp_path / "run")
    with pytest.raises(aadsl.AadslError, match="has no shape yet"):
        study(tmp_path / "run", unseen)


def test_a_module_that_cannot_copy_itself_is_said_to(tmp_path: Path) -> None:
    class Own(Net):
        def __deepcopy__(self, memo: Any) -> nn.Module:
            raise ValueError("no")

    train(Own(), path=tmp_path / "run")
    with pytest.raises(aadsl.AadslError, match="the model's Own cannot be copied: ValueError: no"):
        study(tmp_path / "run", Own())


def test_a_buffer_that_grows_is_refused(tmp_path: Path) -> None:
    class Growing(Statistics):
        grow = False

        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if self.grow:
                self.mean = torch.cat([self.mean, self.mean])
            return y

    train(made(Growing), path=tmp_path / "run")
    model = made(Growing)
    model.grow = True  # type: ignore[assignment]
    with pytest.raises(aadsl.AadslError, match="shape \\(12,\\) in the buffer"):
        study(tmp_path / "run", model, unverified=True).retrain(["skipped"], ["all"])


def test_a_copy_leads_to_itself_and_shares_what_cannot_be_copied() -> None:
    model = made(Owned)
    model.lock = threading.Lock()  # type: ignore[assignment]
    model.handle = model.net[0].register_forward_hook(lambda *given: None)  # type: ignore[assignment,index,operator]
    other = copied(model)
    assert other.owner is other.itself() is other  # type: ignore[operator]
    assert other.lock is model.lock
    other.handle.remove()  # type: ignore[operator,union-attr]
    assert model.net[0]._forward_hooks  # type: ignore[index]
    assert not other.net[0]._forward_hooks  # type: ignore[index]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not other(X).any()
    assert model(X).all()
    script, graph = torch.jit.script(made(Net)), torch.fx.symbolic_trace(made(Net))
    assert torch.equal(copied(nn.Sequential(script, nn.Linear(3, 3)))[0](X), script(X))  # type: ignore[index]
    assert torch.equal(copied(graph)(X), graph(X))
