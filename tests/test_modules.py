"""Networks as people train them: every feature of a training loop is replayed to the bits and differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
import aadsl.estimators
import aadsl.interventions
import aadsl.trajectory

STEPS, BATCH = 12, 8


class Attention(nn.Module):
    """One self-attention layer over three tokens of the input, by the fused operator."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.view(-1, 3, 4)).chunk(3, dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return self.head(mixed[:, 0].mean(dim=1))


class Tied(nn.Module):
    """An autoencoder-like stack whose two matrices are one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Aside(nn.Module):
    """A network that begins with a layer which nothing uses, so that its parameters never have a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.aside, self.body = nn.Linear(5, 2), plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]


def plain(*inner: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(12, 8), *(inner or (nn.Tanh(),)), nn.Linear(8, 3))


def frozen() -> nn.Module:
    model = plain()
    model[0].weight.requires_grad_(False)
    return model


def half_frozen_normalization() -> nn.Module:
    model = plain(nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8), nn.BatchNorm1d(8))
    return model


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def autocast_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model(batch[0])
    return nn.functional.cross_entropy(scores.float(), batch[1])


@dataclass(frozen=True)
class Loop:
    """A training loop: how the model, the optimizer and one step are made."""

    model: Callable[[], nn.Module] = plain
    optimizer: Callable[[Any], torch.optim.Optimizer] = lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)
    micro: int = 1
    recorder: dict[str, Any] = field(default_factory=dict)
    before_step: Callable[[nn.Module], object] = lambda model: None
    before_forward: Callable[[nn.Module], object] = lambda model: None
    loss: Callable[..., Tensor] = loss


def clip_norm(model: nn.Module) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 0.3)


def clip_value(model: nn.Module) -> None:
    nn.utils.clip_grad_value_(model.parameters(), 0.02)


def freeze_last_normalization(model: nn.Module) -> None:
    model[4].eval()


def groups(model_parameters: Any, **options: Any) -> torch.optim.Optimizer:
    first, *rest = model_parameters
    parts = [{"params": [first], "lr": 3e-3}, {"params": rest}]
    return torch.optim.AdamW(parts, lr=1e-3, weight_decay=0.05, eps=1e-4, **options)


def decayed(parameters: Any) -> torch.optim.Optimizer:
    """The usual two groups: matrices decay."""
    parts = [[p for p in parameters if (p.ndim > 1) is matrix] for matrix in (True, False)]
    return torch.optim.SGD([{"params": parts[0], "weight_decay": 0.1}, {"params": parts[1]}], lr=0.01, momentum=0.9)


LOOPS = {
    "plain": Loop(),
    "dropout": Loop(model=lambda: plain(nn.Tanh(), nn.Dropout(0.4))),
    "batch norm": Loop(model=lambda: plain(nn.BatchNorm1d(8), nn.Tanh())),
    "frozen batch norm": Loop(model=half_frozen_normalization, before_forward=freeze_last_normalization),
    "attention": Loop(model=Attention),
    "tied weights": Loop(model=Tied),
    "frozen layer": Loop(model=frozen),
    "unused layer": Loop(model=Aside),
    "unused layer, AdamW": Loop(model=Aside, optimizer=groups),
    "accumulation": Loop(micro=3),
    "accumulation with dropout": Loop(model=lambda: plain(nn.Tanh(), nn.Dropout(0.4)), micro=2),
    "clipped norm": Loop(recorder={"clip": 0.3}, before_step=clip_norm),
    "clipped norm, in groups": Loop(
        model=half_frozen_normalization, optimizer=decayed, recorder={"clip": 0.3}, before_step=clip_norm
    ),
    "clipped values": Loop(recorder={"clip": aadsl.trajectory.Clip("value", 0.02)}, before_step=clip_value),
    "AdamW in groups": Loop(optimizer=groups),
    "fused SGD": Loop(optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True)),
    "fused AdamW in groups": Loop(model=Attention, optimizer=partial(groups, fused=True)),
    "fused AdamW, unused layer": Loop(model=Aside, optimizer=partial(groups, fused=True)),
    "autocast": Loop(loss=autocast_loss),
}


def record(folder: Path, loop: Loop) -> tuple[aadsl.Study, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    data = (
        torch.randn(400, 12, generator=generator, dtype=torch.get_default_dtype()),
        torch.randint(0, 3, (400,), generator=generator),
    )
    torch.manual_seed(0)
    model = loop.model()
    optimizer = loop.optimizer([p for p in model.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - 0.03 * t)
    with aadsl.Recorder(folder, model, optimizer, data=data, states="all", **loop.recorder) as recorder:
        for t in range(STEPS):
            optimizer.zero_grad()
            for m in range(loop.micro):
                start = (t * loop.micro + m) * BATCH
                indices = np.arange(start, start + BATCH)
                model.train()
                loop.before_forward(model)
                recorder.batch(indices=indices)
                (loop.loss(model, (data[0][indices], data[1][indices])) / loop.micro).backward()
            loop.before_step(model)
            optimizer.step()
            schedule.step()
    trajectory = aadsl.open_trajectory(folder)
    study = aadsl.Study(trajectory, model=loop.model(), loss=loop.loss, data=data, device="cpu")
    if loop.model is frozen:  # what is not trained is not recorded: the caller's model brings it
        study = aadsl.Study(trajectory, model=model, loss=loop.loss, data=data, device="cpu")
    study.behavior("probe", "log_likelihood", on=(data[0][300:], data[1][300:]))
    return study, data


@pytest.mark.parametrize("name", LOOPS)
def test_a_replay_gives_the_recorded_bits(name: str, tmp_path: Path) -> None:
    history = record(tmp_path / "run", LOOPS[name])[0].history
    assert history.checkpoints == tuple(range(STEPS + 1))
    state = history.state(0)
    for t in range(STEPS):
        state = history.step_map(state, history.step(t))
        kept = history.state(t + 1)
        assert torch.equal(state.parameters, kept.parameters), f"parameters differ after step {t}"
        assert torch.equal(state.buffers, kept.buffers), f"buffers differ after step {t}"
        for own, recorded in zip(state.slots, kept.slots, strict=True):
            assert all(torch.equal(own[slot], recorded[slot]) for slot in own)


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "autocast"])
def test_small_interventions_have_the_effect_that_the_derivative_says(name: str, tmp_path: Path) -> None:
    """A learning rate changed by a thousandth: what first order leaves out is a thousandth of the effect."""
    torch.set_default_dtype(torch.float64)
    try:
        study = record(tmp_path / "run", LOOPS[name])[0]
    finally:
        torch.set_default_dtype(torch.float32)
    for t in (1, 6, 10):
        study.stage(f"step{t}", [t])
    names = [f"step{t}" for t in (1, 6, 10)]
    slower = aadsl.interventions.INTERVENTIONS["scale_lr"](factor=0.999)
    exact = study.retrain(names, ["probe"], intervention=slower).effect.to_numpy()
    estimate = study.score(names, ["probe"], intervention=slower).effect.to_numpy()
    assert np.abs(exact).min() > 1e-9
    assert np.linalg.norm(estimate - exact) < 3e-3 * np.linalg.norm(exact)


def test_autocast_runs_are_scored_up_to_their_rounding(tmp_path: Path) -> None:
    study = record(tmp_path / "run", LOOPS["autocast"])[0]
    study.stage("late", [10])
    exact = study.retrain(["late"], ["probe"]).effect.item()
    assert study.score(["late"], ["probe"]).effect.item() == pytest.approx(exact, rel=0.3)


def test_stored_batches_need_no_data(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(60, 12, generator=generator), torch.randint(0, 3, (60,), generator=generator)
    model = plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with aadsl.Recorder(tmp_path / "run", model, optimizer) as recorder:
        for t in range(5):
            batch = (x[t * 8 : t * 8 + 8], y[t * 8 : t * 8 + 8])
            optimizer.zero_grad()
            loss(model, batch).backward()
            recorder.batch(batch)
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(tmp_path / "run"), model=plain(), loss=loss, device="cpu")
    study.behavior("probe", "log_likelihood", on=(x, y))
    study.stage("second", [1])
    assert study.retrain(["second"], ["probe"]).effect.item() != 0
    with pytest.raises(aadsl.AadslError, match="not recorded, only their values"):
        replace = aadsl.interventions.INTERVENTIONS["replace"](data=(x, y))
        study.retrain(["second"], ["probe"], intervention=replace)
