"""Verification passes what happened, and names what did not: each fault is planted, and its cause must be said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Clip, Recorder, open_trajectory
from aadsl.verification import Report
from aadsl.verification.report import REMEDIES
from tests.trajectory.forging import rewrite
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd, small_model, train


def record(
    folder: Path, *, steps: int = 21, dropout: float = 0.0, data: Any = DATA, adam: bool = False, **options: Any
) -> None:
    model = small_model(dropout)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1) if adam else sgd(model)
    torch.manual_seed(11)
    recorder_options = {key: options.pop(key) for key in ("clip_declared", "states") if key in options}
    declared = recorder_options.pop("clip_declared", None)
    with Recorder(folder, model, optimizer, data, clip=declared, **recorder_options) as recorder:
        train(recorder, model, optimizer, steps, **options)


def verified(folder: Path, *, dropout: float = 0.0, loss: Any = mean_loss, data: Any = DATA) -> Report:
    return replayed(folder, small_model(dropout), loss=loss, data=data, samples=30)


def replayed(folder: Path, model: nn.Module, *, loss: Any = mean_loss, data: Any = DATA, **options: Any) -> Report:
    """Verify where the run was recorded, on the CPU."""
    return open_trajectory(folder).verify(model=model, loss=loss, data=data, device="cpu", **options)


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_what_happened_passes(tmp_path: Path, dropout: float, adam: bool) -> None:
    record(tmp_path, dropout=dropout, adam=adam)
    report = verified(tmp_path, dropout=dropout)
    assert report.ok, report
    assert "21 steps in 5 stretches were replayed" in str(report)
    report.require()


def test_declared_clips_pass(tmp_path: Path) -> None:
    record(tmp_path, clip=0.3, clip_declared=Clip("norm", 0.3))
    assert verified(tmp_path).ok


def test_stored_tensors_need_no_data(tmp_path: Path) -> None:
    record(tmp_path, announce="tensors", data=None)
    assert verified(tmp_path, data=None).ok


def test_only_files(tmp_path: Path) -> None:
    record(tmp_path)
    report = open_trajectory(tmp_path).verify()
    assert report.ok and "no step was replayed" in str(report)


def causes(report: Report) -> str:
    assert not report.ok, report
    with pytest.raises(AadslError, match="does not pass verification"):
        report.require()
    assert all(REMEDIES[cause] in str(report) and cause in report._repr_html_() for cause in report.causes)
    return " ".join(report.causes)


def test_shuffled_data(tmp_path: Path) -> None:
    record(tmp_path)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5))
    report = verified(tmp_path, data=(INPUTS[order], TARGETS[order]))
    assert causes(report) == "shuffled data", report


def test_other_data(tmp_path: Path) -> None:
    record(tmp_path)
    report = verified(tmp_path, data=(torch.randn(60, 6), TARGETS))
    assert causes(report) == "other data", report
    assert causes(verified(tmp_path, data=(INPUTS[:50], TARGETS[:50]))) == "other data"


def test_other_data_that_were_not_described(tmp_path: Path) -> None:
    record(tmp_path, data=None)
    report = verified(tmp_path, data=(torch.randn(60, 6), TARGETS))
    assert causes(report) == "other loss or data", report


@pytest.mark.parametrize("adam", [False, True])
def test_another_loss(tmp_path: Path, adam: bool) -> None:
    record(tmp_path, adam=adam)

    def squared(model: nn.Module, batch: Any) -> torch.Tensor:
        return F.mse_loss(model(batch[0]), F.one_hot(batch[1], 3).float())

    report = verified(tmp_path, loss=squared)
    assert causes(report) == "other loss", report


class NoBackwardInLowerPrecision(torch.autograd.Function):
    """Fails as kernels do that lower precision has not: where the gradient is computed."""

    @staticmethod
    def forward(ctx: Any, outputs: torch.Tensor) -> torch.Tensor:
        ctx.lower = torch.is_autocast_enabled("cpu")
        return outputs.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> torch.Tensor:
        if ctx.lower:
            raise RuntimeError("not implemented for this type")
        return slopes[0]


class TrainsOnly(nn.Module):
    """Fails wherever it is called otherwise than training called it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_model()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            raise RuntimeError("has no eval mode")
        return NoBackwardInLowerPrecision.apply(self.inner(inputs))


def test_a_suspicion_under_which_the_model_fails_is_no_cause(tmp_path: Path) -> None:
    model = TrainsOnly()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 21)
    report = replayed(tmp_path, TrainsOnly(), loss=lambda model, batch: mean_loss(model, batch).square())
    assert causes(report) == "other loss", report


def test_a_loss_that_sums(tmp_path: Path) -> None:
    record(tmp_path)
    report = verified(tmp_path, loss=lambda model, batch: 8 * mean_loss(model, batch))
    assert causes(report) == "other loss", report
    assert "0.125 times" in str(report) or "times this one" in str(report)


def test_a_mode_that_was_another(tmp_path: Path) -> None:
    record(tmp_path)
    rewrite(tmp_path / "steps-0-21.nc", {"training": lambda old: 0 * old})
    report = verified(tmp_path)
    assert causes(report) == "other mode", report
    assert "in train mode, although eval mode was recorded" in str(report)


def test_other_dropout_seeds(tmp_path: Path) -> None:
    record(tmp_path, dropout=0.5)
    other = torch.Generator().manual_seed(99).get_state().numpy()
    rewrite(tmp_path / "batches-0-21.nc", {"rng_cpu": lambda old: np.tile(other, len(old) // len(other))})
    report = verified(tmp_path, dropout=0.5)
    assert causes(report) == "other dropout", report


def smoothed(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.05)


@pytest.mark.parametrize(
    ("cause", "options", "loss"),
    [
        ("other loss", {}, smoothed),
        ("other loss", {"adam": True}, smoothed),
        ("other loss", {}, lambda model, batch: 20 * smoothed(model, batch)),
        ("undeclared clip", {"clip": 0.3}, mean_loss),
        ("other learning rate", {}, mean_loss),
    ],
)
def test_dropout_hides_no_other_cause(cause: str, options: dict[str, Any], loss: Any, tmp_path: Path) -> None:
    record(tmp_path, dropout=0.3, **options)
    if cause == "other learning rate":
        rewrite(tmp_path / "steps-0-21.nc", {"lr": lambda old: 0.9 * old})
    report = verified(tmp_path, dropout=0.3, loss=loss)
    assert causes(report) == cause, report


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("limit", [0.5, 0.05])
def test_an_undeclared_clip(tmp_path: Path, adam: bool, limit: float) -> None:
    record(tmp_path, clip=limit, adam=adam)
    report = verified(tmp_path)
    assert causes(report) == "undeclared clip", report
    assert f"norm of {limit}" in str(report)


def test_an_undeclared_clip_by_value(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA, states="all") as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            loss = mean_loss(model, (INPUTS[:9], TARGETS[:9]))
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.03)
            recorder.batch(indices=range(9), loss=loss)
            optimizer.step()
    report = verified(tmp_path)
    assert causes(report) == "undeclared clip", report
    assert "values of 0.03" in str(report)


def test_learning_rates_changed_after_recording(tmp_path: Path) -> None:
    record(tmp_path)
    rewrite(tmp_path / "steps-0-21.nc", {"lr": lambda old: old / 2})
    report = verified(tmp_path)
    assert causes(report) == "other learning rate", report
    assert "the learning rate was 0.1, not the recorded 0.05" in str(report)


def test_the_learning_rate_of_one_step_changed(tmp_path: Path) -> None:
    record(tmp_path)

    def change(old: Any) -> Any:
        old[12] *= 0.9
        return old

    rewrite(tmp_path / "steps-0-21.nc", {"lr": change})
    report = verified(tmp_path)
    assert causes(report) == "other learning rate", report
    assert "the learning rate of step 12 was" in str(report)


@pytest.mark.parametrize("state", [0, 2, 8, 21])
def test_a_changed_weight(tmp_path: Path, state: int) -> None:
    record(tmp_path)

    def change(old: Any) -> Any:
        old[7] += 0.5
        return old

    rewrite(tmp_path / f"state-{state}.nc", {"parameters_float32": change})
    report = verified(tmp_path)
    assert causes(report) == "changed weight", report
    assert '"0.weight"' in str(report)


def test_a_changed_frozen_weight(tmp_path: Path) -> None:
    model = small_model()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 3)
    assert replayed(tmp_path, model).ok
    with torch.no_grad():
        model[0].weight[2, 2] += 1
    report = replayed(tmp_path, model)
    assert causes(report) == "changed weight" and "0.weight" in str(report)


@pytest.mark.parametrize("name", ["run.nc", "steps-0-21.nc", "batches-0-21.nc", "state-8.nc"])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9, 1.0])
def test_a_flipped_byte(tmp_path: Path, name: str, where: float) -> None:
    record(tmp_path)
    trajectory = open_trajectory(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[min(int(where * len(content)), len(content) - 1)] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AadslError, match=name):
        open_trajectory(tmp_path).state(8)
        open_trajectory(tmp_path).batch_indices(0)
    if name.startswith(("state", "batches")):
        report = open_trajectory(tmp_path).verify()
        assert causes(report) == "changed file" and name in str(report)
    del trajectory


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.trajectory.record.journal.FLUSH_SECONDS", -1.0)
    monkeypatch.setattr("aadsl.trajectory.store.segments._mergeable", lambda *_: False)
    monkeypatch.setattr("aadsl.trajectory.record.journal.merge_steps", lambda *_: None)
    record(tmp_path / "whole", steps=5)
    for name, said in [
        ("steps-2-3.nc", "steps from step 2 to 3 is missing"),
        ("steps-4-5.nc", "only 4 are here: a segment is missing"),
        ("batches-3-4.nc", "batches from step 3 to 4 is missing"),
        ("batches-4-5.nc", "batches only of 4"),
        ("state-0.nc", "initial state, state-0.nc, is missing"),
    ]:
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        (tmp_path / name / name).unlink()
        report = open_trajectory(tmp_path / name).verify()
        assert set(report.causes) == {"missing segment"} and said in str(report), report


def test_files_of_another_run(tmp_path: Path) -> None:
    record(tmp_path / "a")
    record(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "state-8.nc", tmp_path / "a" / "state-8.nc")
    trajectory = open_trajectory(tmp_path / "a")
    report = trajectory.verify()
    assert causes(report) == "schema" and "state-8.nc belongs to another run" in str(report)
    assert not trajectory.violations(into_states=False)  # as before an answer, which reads what it needs
    with pytest.raises(AadslError, match=r"state-8.nc is whole, but .* belongs to another run"):
        trajectory.state(8)


def test_a_state_under_another_name(tmp_path: Path) -> None:
    record(tmp_path)
    shutil.copy(tmp_path / "state-2.nc", tmp_path / "state-5.nc")
    report = open_trajectory(tmp_path).verify()
    assert causes(report) == "schema" and "state-5.nc: holds the state before step 2" in str(report)


def test_another_dtype(tmp_path: Path) -> None:
    record(tmp_path)
    report = replayed(tmp_path, small_model().double())
    assert causes(report) == "other dtype", report


def test_other_kernels_are_tolerated_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path)
    rewrite(tmp_path / "run.nc", {"provenance_torch": "1.0"})

    def other_kernel(model: nn.Module, batch: Any) -> torch.Tensor:
        """The same loss summed in another order, and rounded worse."""
        return -(model(batch[0]).log_softmax(1).gather(1, batch[1][:, None])).mean() * (1 + 1e-4)

    report = verified(tmp_path, loss=other_kernel)
    assert report.ok, report
    assert "other kernels (PyTorch 1.0, here" in str(report) and "small deviations are tolerated" in str(report)


def test_a_model_that_does_not_fit(tmp_path: Path) -> None:
    record(tmp_path)
    report = replayed(tmp_path, nn.Linear(6, 3))
    assert causes(report) == "model or data" and "has no parameter" in str(report)


@pytest.mark.parametrize(("counted", "said"), [(True, "by their numbers of examples"), (False, "were added up")])
def test_weights_of_micro_batches_that_were_not_told(tmp_path: Path, counted: bool, said: str) -> None:
    for told in (False, True):
        model = small_model()
        optimizer = sgd(model)
        with Recorder(tmp_path, model, optimizer, DATA, overwrite=True) as recorder:
            for step in range(6):
                optimizer.zero_grad()
                for rows in (torch.arange(18) + step, torch.arange(6) + 30 + step):
                    weight = len(rows) / 24 if counted else 1.0
                    # Of what is no number the recorder sees no loss.
                    (mean_loss(model, (INPUTS[rows], TARGETS[rows])) * weight).reshape(1).backward()
                    recorder.batch(indices=rows, **({"weight": weight} if told else {}))
                optimizer.step()
        report = replayed(tmp_path, small_model())
        assert report.ok is told, report
        if not told:
            assert said in str(report) and "recorder.batch(…, weight=…)" in str(report), report
