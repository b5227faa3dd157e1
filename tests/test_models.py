"""Models as people keep them: whatever hangs on one, an answer is that of the training loop without the steps."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import aadsl
from aadsl.core.copies import copied
from aadsl.estimators import FirstOrder
from aadsl.propagation import CentralDifference
from aadsl.replayed.parcels import pickled, unpickled
from aadsl.replayed.run_spec import RunSpec
from aadsl.study.identity import Identifier

STEPS, BATCH, SKIPPED = 12, 16, range(3, 6)
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(STEPS * BATCH, 6, generator=GENERATOR)
Y = torch.randint(0, 3, (STEPS * BATCH,), generator=GENERATOR)


class Net(nn.Module):
    """A network that the others are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class WithHooks(Net):
    """An attribute that is called as PyTorch's own are."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks = [self.net[0].register_forward_hook(lambda module, inputs, output: output * 2)]


class Owned(Net):
    """Knows itself in every way: by name, weakly, by a bound method and a wrapped forward."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["owner"], self.itself = self, weakref.ref(self)
        self.__dict__["proxy"] = weakref.proxy(self)
        self.scores, forward = partial(self.head, factor=2.0), self.forward

        def wrapped(x: Tensor) -> Tensor:
            return forward(x) + self.itself().net[2].bias + self.proxy.net[2].bias  # type: ignore[union-attr]

        self.forward = wrapped  # type: ignore[method-assign]

    def head(self, x: Tensor, factor: float) -> Tensor:
        return self.owner.net(x) * factor  # type: ignore[no-any-return,union-attr,operator]

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x)


class Features(Net):
    """Reads in its forward pass what a hook, a function defined in ``__init__``, puts on it."""

    def __init__(self) -> None:
        super().__init__()
        self.features: dict[str, Any] = {}

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.features["hidden"] = output

        self.net[1].register_forward_hook(keep)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.features["hidden"][:, :3]  # type: ignore[no-any-return]


class Activation(Net):
    """Keeps its last activation, alone and in a list."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.net(x)
        self.all = [self.last]
        return self.last


class Machinery(Net):
    """Holds a lock, an open file and both in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.file = threading.Lock(), Path(os.devnull).open()  # noqa: SIM115
        self.both = {"lock": self.lock, "last": self.net[0].weight * 2}

    def forward(self, x: Tensor) -> Tensor:
        with self.lock, self.both["lock"] if self.both["lock"] is not self.lock else threading.Lock():
            return self.net(x)  # type: ignore[no-any-return]


class Statistics(Net):
    """Puts new tensors in the place of its buffers."""

    mean: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.count = self.count + 1
        return self.net(x - self.mean) / (1 + 0.01 * self.count)  # type: ignore[no-any-return]


class Checkpointed(Net):
    """Computes its activations again in the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](checkpoint(self.net[:2], x, use_reentrant=False))  # type: ignore[no-any-return]


class Autocast(Net):
    """Computes in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """Holds its weights also in lists, and weakly."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.view(-1, 3, 2))[0][:, -1])  # type: ignore[no-any-return]


def changed(change: Callable[[nn.Linear], object]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = Net()
        change(model.net[0])  # type: ignore[arg-type]
        return model

    return make


def lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
    model(X[:1])
    return model


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def compiled_in_part(model: nn.Module) -> nn.Module:
    model.net[0] = compiled(model.net[0])  # type: ignore[index,operator]
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "hooks": WithHooks, "itself": Owned, "features": Features, "activation": Activation, "machinery": Machinery,
    "statistics": Statistics, "checkpointing": Checkpointed, "autocast": Autocast, "LSTM": Recurrent, "lazy": lazy,
    "pruned": changed(lambda layer: prune.l1_unstructured(layer, "weight", 0.3)),
    "weight norm": changed(parametrizations.weight_norm), "old weight norm": changed(weight_norm),
    "spectral norm": changed(parametrizations.spectral_norm), "old spectral norm": changed(spectral_norm),
    "gradient hook": changed(lambda layer: layer.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))),
}  # fmt: skip
WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": compiled, "compiled in place": compiled_in_place, "compiled in part": compiled_in_part,
    "parallel": nn.DataParallel, "compiled, parallel": lambda model: nn.DataParallel(compiled(model)),
}  # fmt: skip


def made(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


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
    before = Identifier(asked.history)
    identity = before.now()
    asked.retrain(["skipped"], ["all"])
    assert before.now() == identity
    assert identity.digest is not None or name == "machinery"
    assert Identifier(study(tmp_path / "run", full).history).now() == identity


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
