"""Images whose channels lie last in memory: other kernels, and other last bits, which a replay has to have."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.formats import FORMATS, arranged, format_of, shaped
from aadsl.propagation.aligned import AlignedTensors
from aadsl.propagation.layout import Layout

STEPS, STAGE = 8, [3, 4]
X = torch.randn(4 * STEPS, 3, 12, 12, generator=torch.Generator().manual_seed(1))
Y = torch.randint(5, (4 * STEPS,), generator=torch.Generator().manual_seed(2))


def network(last: bool = False, frozen: bool = False) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    model[0].requires_grad_(not frozen)
    return model.to(memory_format=torch.channels_last) if last else model


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def trained(
    model: nn.Module, last_inputs: bool, recorded: Path | None = None, skipped: Collection[int] = (), **options: Any
) -> nn.Module:
    make: Callable[..., torch.optim.Optimizer] = options.get("optimizer", torch.optim.SGD)
    optimizer = make([p for p in model.parameters() if p.requires_grad], lr=0.02)
    recorder = None if recorded is None else aadsl.Recorder(recorded, model, optimizer, data=(X, Y), clip=0.1)
    for step in range(STEPS):
        if step in skipped:
            continue
        rows = torch.arange(4 * step, 4 * step + 4)
        inputs = X[rows].to(memory_format=torch.channels_last) if last_inputs else X[rows]
        optimizer.zero_grad()
        loss(model, (inputs, Y[rows])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        if recorder is not None:
            recorder.batch((inputs, Y[rows])) if options.get("stored") else recorder.batch(indices=rows)
        optimizer.step()
    if recorder is not None:
        recorder.close()
    return model


CASES: dict[str, dict[str, Any]] = {
    "model and inputs": {"last": True, "last_inputs": True},
    "model": {"last": True, "last_inputs": False},
    "inputs": {"last": False, "last_inputs": True},
    "inputs, stored": {"last": False, "last_inputs": True, "stored": True},
    "a frozen layer": {"last": True, "last_inputs": True, "frozen": True},
    "fused": {"last": True, "last_inputs": True, "optimizer": lambda p, lr: torch.optim.AdamW(p, lr=lr, fused=True)},
    "an optimizer that adds up": {"last": True, "last_inputs": True, "optimizer": torch.optim.Adafactor},
}


@pytest.mark.filterwarnings("ignore:a run trained with|:UserWarning")
@pytest.mark.parametrize(("case", "given"), [*((case, False) for case in CASES), ("model", True), ("inputs", True)])
def test_the_replay_has_the_bits_of_the_loop(case: str, given: bool, tmp_path: Path) -> None:
    options = dict(CASES[case])
    last, frozen, inputs = options.pop("last"), options.pop("frozen", False), options.pop("last_inputs")
    trained(network(last, frozen), inputs, tmp_path, **options)
    trajectory = aadsl.open_trajectory(tmp_path)
    assert trajectory.parameters["3.weight"].memory_format == ("channels_last" if last else "")
    study = aadsl.Study(trajectory, model=network(given, frozen), loss=loss, data=(X, Y), device="cpu")
    report = study.verify_trajectory(samples=20)
    assert report.ok and "every bit the same" in str(report), report
    study.stage("stage", STAGE)
    found = study.counterfactual("stage").state_dict()
    expected = trained(network(last, frozen), inputs, skipped=STAGE, **options).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "shape", [(4, 3, 2, 2), (4, 1, 3, 3), (4, 3, 1, 1), (1, 1, 1, 1), (2, 3, 1, 5), (2, 3, 2, 2, 2)]
)
def test_formats_are_those_that_pytorch_sees(shape: tuple[int, ...]) -> None:
    usual = torch.randn(shape)
    name = FORMATS[len(shape)]
    last = usual.to(memory_format=getattr(torch, name))
    for tensor in (usual, last, last[:1], usual[:, :1], usual.transpose(-1, -2), usual.expand(shape)):
        seen = tensor.to(memory_format=getattr(torch, name)) is tensor  # then PyTorch takes it to have that already
        assert (format_of(tensor) == name) is seen, tensor.stride()
        for wanted in (name, ""):
            moved = arranged(tensor, wanted)
            assert torch.equal(moved, tensor) and format_of(moved) in (wanted, "")
    assert (
        shaped(usual.reshape(-1), shape, name).stride()
        == torch.empty(shape, memory_format=getattr(torch, name)).stride()
    )


def test_flat_vectors_are_in_the_usual_order() -> None:
    weight, bias = torch.randn(4, 3, 2, 2), torch.randn(5)
    shapes = {"weight": (4, 3, 2, 2), "bias": (5,)}
    layout = Layout.of(shapes, None, {"weight": "channels_last", "bias": ""})
    held, vector = AlignedTensors(layout, bias), layout.flatten([weight, bias], bias)
    held.load(vector)
    assert torch.equal(held.flat(), vector) and torch.equal(held.tensors[0], weight)
    assert held.tensors[0].is_contiguous(memory_format=torch.channels_last)
    held.load(vector, (2.0, vector))
    assert torch.equal(held.tensors[0], weight + 2 * weight)


def test_a_format_that_changes_is_refused_with_a_way_out(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    said = r"float32 when recording began, and is .* float32 channels_last now[\s\S]*another recorder"
    recorder = aadsl.Recorder(tmp_path, model, optimizer, data=(X, Y), states="all")
    model.to(memory_format=torch.channels_last)
    loss(model, (X[:4], Y[:4])).backward()
    recorder.batch(indices=range(4))
    with pytest.raises(aadsl.AadslError, match=said):
        optimizer.step()
