"""The switches that decide PyTorch's kernels: a replay finds them as the training had them, and puts them back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core import kernels
from aadsl.core.errors import AadslError
from aadsl.core.kernels import kernels_now, under
from tests.trajectory.forging import rewrite

CPU = torch.device("cpu")
DATA = (torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3)


class Switched(nn.Linear):
    """A layer whose kernel depends on the switches, far beyond rounding."""

    def forward(self, x: Tensor) -> Tensor:
        factor = {"highest": 1.0, "high": 1.1, "medium": 1.2}[torch.get_float32_matmul_precision()]
        return super().forward(x) * (factor + torch.are_deterministic_algorithms_enabled())


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    with under(kernels_now(CPU)):
        yield
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")


def trained(folder: Path, *, skip: int | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = Switched(4, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    with aadsl.Recorder(folder, model, optimizer, DATA) as recorder:
        for t in range(5):
            rows = slice(8 * t, 8 * t + 8)
            optimizer.zero_grad()
            loss(model, (DATA[0][rows], DATA[1][rows])).backward()
            if t != skip:
                recorder.batch(indices=range(40)[rows])
                optimizer.step()
    return model


@pytest.mark.parametrize(("precision", "deterministic"), [("medium", False), ("highest", True), ("high", True)])
def test_replays_find_them_as_they_were(tmp_path: Path, precision: str, deterministic: bool) -> None:
    torch.set_float32_matmul_precision(precision)
    torch.use_deterministic_algorithms(deterministic)
    model, without = trained(tmp_path / "run"), trained(tmp_path / "by hand", skip=2)
    torch.use_deterministic_algorithms(not deterministic, warn_only=True)
    torch.set_float32_matmul_precision("highest" if precision != "highest" else "medium")
    now = kernels_now(CPU)
    study = aadsl.Study(aadsl.open_trajectory(tmp_path / "run"), model=model, loss=loss, data=DATA, device="cpu")
    study.stage("third", [2])
    study.behavior("likelihood", "log_likelihood", on=DATA)
    assert study.score(["third"], ["likelihood"]).exact.all()
    found = study.counterfactual("third")
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), without.parameters(), strict=True))
    study.score(["third"], ["likelihood"], estimator="first_order")
    assert kernels_now(CPU) == now and torch.is_deterministic_algorithms_warn_only_enabled()


def test_an_error_leaves_them_as_they_were() -> None:
    before = kernels_now(CPU)
    with pytest.raises(KeyError), under({"float32_matmul_precision": "medium", "of a later version": "True"}):
        assert torch.get_float32_matmul_precision() == "medium"
        raise KeyError
    assert kernels_now(CPU) == before


@pytest.mark.parametrize("claimed", ['{"float32_matmul_precision": "evil"}', '{"cudnn_benchmark": "maybe"}', "[]", "{"])
def test_a_file_that_claims_other_positions_is_refused(tmp_path: Path, claimed: str) -> None:
    trained(tmp_path / "run")
    assert aadsl.open_trajectory(tmp_path / "run").kernels(0) == kernels_now(CPU)
    rewrite(tmp_path / "run" / "run.nc", {"kernels": claimed})
    with pytest.raises(AadslError, match=r"run\.nc is whole, but not what the schema of trajectories says"):
        aadsl.open_trajectory(tmp_path / "run")


def test_who_records_on_a_gpu_hears_once_what_its_kernels_mean() -> None:
    with pytest.warns(UserWarning, match=r"use_deterministic_algorithms\(True\) before training"):
        kernels.tell_of_nondeterminism(torch.device("cuda"))
    kernels.tell_of_nondeterminism(CPU)
    torch.use_deterministic_algorithms(True)
    kernels.tell_of_nondeterminism(torch.device("cuda"))
