"""A plain training loop that keeps everything it did, to compare recordings with."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl.trajectory import Recorder


@dataclass
class Kept:
    """What a loop did: one deep copy of everything before each step, and after the last."""

    states: list[dict[str, Tensor]] = field(default_factory=list)
    slots: list[dict[str, dict[str, Tensor]]] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    generators: list[Tensor] = field(default_factory=list)


INPUTS = torch.randn(60, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(3, (60,), generator=torch.Generator().manual_seed(2))
DATA = torch.utils.data.TensorDataset(INPUTS, TARGETS)


def small_model(dropout: float = 0.0, norm: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(6, 5), nn.BatchNorm1d(5) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(5, 3))


def sgd(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3, **options})


def mean_loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def slots_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                found.setdefault(slot, {})[name] = torch.as_tensor(value)
    return copy.deepcopy(found)


def train(
    recorder: Recorder | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    kept: Kept | None = None,
    seed: int = 3,
    clip: float | None = None,
    announce: str = "indices",
    first: int = 0,
) -> Kept:
    """Train for ``steps`` steps with a decaying learning rate; announce each batch with a tag and its loss."""
    kept = Kept() if kept is None else kept
    generator = torch.Generator().manual_seed(seed)
    for step in range(first, first + steps):
        indices = torch.randint(60, (8,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + step / 10)
        kept.states.append(copy.deepcopy(model.state_dict()))
        kept.slots.append(slots_of(model, optimizer))
        kept.indices.append(indices)
        kept.rates.append(optimizer.param_groups[0]["lr"])
        kept.generators.append(torch.get_rng_state())
        batch = (INPUTS[indices], TARGETS[indices])
        optimizer.zero_grad()
        loss = mean_loss(model, batch)
        kept.losses.append(loss.item())
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if recorder is not None:
            tag = "bad" if step % 3 == 0 else "good"
            if announce == "indices":
                recorder.batch(indices=indices, tag=tag, loss=loss, epoch=step // 5)
            else:
                recorder.batch(batch, tag=tag, loss=loss, epoch=step // 5)
        optimizer.step()
    kept.states.append(copy.deepcopy(model.state_dict()))
    kept.slots.append(slots_of(model, optimizer))
    return kept


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )
