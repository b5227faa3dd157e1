"""Recording models that are compiled: what they draw is told, and nothing of the recorder is compiled with them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import aadsl
from tests.trajectory.loops import DATA, mean_loss, sgd, small_model, train
from tests.verification.test_causes import rewrite


def around(model: nn.Module, **options: Any) -> Any:
    return torch.compile(model, **options)


def in_place(model: nn.Module, **options: Any) -> nn.Module:
    model.compile(**options)
    return model


def in_part(model: nn.Module, **options: Any) -> Any:
    return nn.Sequential(torch.compile(model, **options))


WAYS: dict[str, Callable[..., Any]] = {"around": around, "in place": in_place, "in part": in_part}


class Attention(nn.Module):
    """Drops by a function, at a rate that it has as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.attention_dropout = nn.Linear(4, 3), 0.1


def told(path: Path, model: nn.Module) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        aadsl.Recorder(path, model, sgd(model)).close()
    return [str(one.message) for one in caught if "inductor" in str(one.message)]


@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_model_that_drops_is_told_of_before_the_training(way: str, tmp_path: Path) -> None:
    compiled = WAYS[way]
    (message,) = told(tmp_path / "own", compiled(small_model(dropout=0.5)))
    assert "(Dropout)" in message and "fallback_random = True" in message
    assert "(Attention)" in told(tmp_path / "attention", compiled(Attention()))[0]
    quiet = {
        "not dropped": compiled(small_model()),
        "rate zero": compiled(small_model(dropout=0.0)),
        "as PyTorch draws": compiled(small_model(dropout=0.5), options={"fallback_random": True}),
        "by another backend": compiled(small_model(dropout=0.5), backend="eager"),
        "not compiled": small_model(dropout=0.5),
    }
    assert {name: told(tmp_path / name, model) for name, model in quiet.items()} == {name: [] for name in quiet}


def test_the_choice_for_all_models_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = around(small_model(dropout=0.5))
    monkeypatch.setattr("torch._inductor.config.fallback_random", True)
    assert told(tmp_path / "run", model) == []


def test_verification_knows_why_the_numbers_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.trajectory.record.subject.own_numbers", lambda model: True)
    model = small_model(dropout=0.5)
    optimizer = sgd(model)
    with aadsl.Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 21)
    other = torch.Generator().manual_seed(99).get_state().numpy()
    rewrite(tmp_path / "batches-0-21.nc", {"rng_cpu": lambda old: np.tile(other, len(old) // len(other))})
    report = aadsl.open_trajectory(tmp_path).verify(small_model(dropout=0.5), mean_loss, DATA, device="cpu")
    assert report.causes == ("compiled dropout",) and "fallback_random = True" in str(report)


def test_the_recorder_is_not_compiled_with_a_model_that_is_compiled_in_place(tmp_path: Path) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model = small_model(dropout=0.5)
    model.compile(backend=backend)
    optimizer = sgd(model)
    with aadsl.Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 12)
    assert len(graphs) <= 2  # the model, once for each shape at most
    assert aadsl.open_trajectory(tmp_path).verify(small_model(dropout=0.5), mean_loss, DATA, device="cpu").ok
