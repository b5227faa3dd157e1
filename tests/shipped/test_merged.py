"""A model whose adapters were merged into their base is the model that the run ended with, which is seen and said."""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import aadsl
from tests.shipped.runs import DATA, HELD_OUT, LENGTH, SIZE, loss

STAGE = range(8, 14)


class Lora(nn.Module):
    """A linear layer with an adapter beside it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(2, base.in_features, dtype=torch.float64) * 0.3)
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, 2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2 * x @ self.lora_a.T @ self.lora_b.T


def adapted() -> nn.Sequential:
    torch.manual_seed(3)
    layers = [nn.Linear(4, 8).double(), nn.Linear(8, 3).double()]
    return nn.Sequential(Lora(layers[0]), nn.Tanh(), Lora(layers[1]))


def merged(model: nn.Sequential) -> nn.Sequential:
    layers = []
    for layer in copy.deepcopy(model):
        if isinstance(layer, Lora):
            layer.base.weight.data += 2 * layer.lora_b @ layer.lora_a
        layers.append(layer.base if isinstance(layer, Lora) else layer)
    return nn.Sequential(*layers)


def trained(folder: Path | None, without: Collection[int] = (), length: int = LENGTH) -> nn.Sequential:
    model = adapted()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    recorder = None if folder is None else aadsl.Recorder(folder, model, optimizer, data=DATA, states=6)
    for t in range(length):
        rows = torch.arange(t * SIZE, (t + 1) * SIZE)
        if t in without:
            continue
        if recorder is not None:
            recorder.batch(indices=rows)
        optimizer.zero_grad()
        loss(model, (DATA[0][rows], DATA[1][rows])).backward()
        optimizer.step()
    if recorder is not None:
        recorder.close()
    return model


def fits(model: nn.Module) -> float:
    with torch.no_grad():
        return float(-nn.functional.cross_entropy(model(HELD_OUT[0]), HELD_OUT[1]))


@pytest.mark.parametrize("length", [LENGTH, 12])
def test_it_is_told_by_what_it_computes(tmp_path: Path, length: int) -> None:
    trained(tmp_path)
    shipped = merged(trained(None, length=length)).train()
    given = {"model": adapted(), "loss": loss, "data": DATA, "device": "cpu"}
    study = aadsl.Study(aadsl.open_trajectory(tmp_path), **given, final=shipped)
    assert study.history.length == length and shipped.training
    assert study.notes[-1].endswith(f"computes what the model does after {length} steps")
    study.stage("stage", list(STAGE))
    study.behavior("fits", "log_likelihood", on=HELD_OUT)
    answer = study.score(["stage"], ["fits"])
    truth = fits(shipped) - fits(merged(trained(None, without=STAGE, length=length)))
    assert answer.exact.all() and answer.effect.item() == pytest.approx(truth, abs=1e-12) != 0


def test_others_are_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    given = {"loss": loss, "data": DATA, "device": "cpu"}
    trajectory = aadsl.open_trajectory(tmp_path)
    with pytest.raises(aadsl.AadslError, match=r"computes something else than after any step(.|\n)*final=STEP"):
        aadsl.Study(trajectory, model=adapted(), **given, final=merged(trained(None, length=11)))
    with pytest.raises(aadsl.AadslError, match=r"are its adapters merged(.|\n)*final=merged_model"):
        aadsl.Study(trajectory, model=merged(adapted()), **given)
    with pytest.raises(aadsl.AadslError, match="or the model itself where its adapters were merged"):
        aadsl.Study(trajectory, model=adapted(), **given, final=merged(adapted()).state_dict())
    merged_in_place = adapted()
    merged_in_place[0].base.weight.data += 1
    merged_in_place[0].merged = True  # as PEFT's layers say
    report = aadsl.Study(trajectory, model=merged_in_place, **given).verify_trajectory()
    assert not report.ok and "adapters are merged into them: unmerge_adapter()" in report.failure
