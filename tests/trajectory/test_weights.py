"""What each micro-batch's loss is multiplied by is measured: loops that accumulate, beside the same loops by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import aadsl
from aadsl.trajectory import Recorder, Trajectory, open_trajectory
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd, small_model

GROUPS = ((8, 8, 8, 8), (8, 5), (7,), (8, 8, 8, 8), (3, 9, 4)) * 2
STAGE = (3, 4)
Loss = Callable[[nn.Module, Any, Sequence[int]], Tensor]
"""What ``backward()`` is called on for a micro-batch, of a step with micro-batches of such sizes."""


def summed(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")


LOSSES: dict[str, Loss] = {
    "added up": lambda model, batch, sizes: mean_loss(model, batch),
    "divided, a short group as well": lambda model, batch, sizes: mean_loss(model, batch) / 4,
    "averaged": lambda model, batch, sizes: mean_loss(model, batch) / len(sizes),
    "by examples": lambda model, batch, sizes: mean_loss(model, batch) * len(batch[1]) / sum(sizes),
    "sums over the examples of the step": lambda model, batch, sizes: summed(model, batch) / sum(sizes),
    "sums": lambda model, batch, sizes: 0.1 * summed(model, batch),
    "by class": lambda model, batch, sizes: mean_loss(model, batch) * (1.0 if batch[1][0] == 0 else 0.37),
    "by a tensor": lambda model, batch, sizes: torch.tensor(0.3) * mean_loss(model, batch) / torch.tensor(3),
    "in two terms": lambda model, batch, sizes: mean_loss(model, batch) / 4 + 0 * INPUTS.sum(),
    "by a gradient": lambda model, batch, sizes: mean_loss(model, batch),
}


def trained(
    folder: Path | None,
    loss: Loss,
    skipped: Sequence[int] = (),
    scaler: Any = None,
    gradient: float | None = None,
    together: bool = False,
    **told: Any,
) -> nn.Module:
    """Train, recorded where there is a folder; ``together``: one backward pass goes through all micro-batches."""
    model, generator = small_model(norm=False), torch.Generator().manual_seed(5)
    optimizer = sgd(model)
    recorder = None if folder is None else Recorder(folder, model, optimizer, DATA)
    for step, sizes in enumerate(GROUPS):
        optimizer.zero_grad()
        held = []
        for rows in [torch.randint(60, (size,), generator=generator) for size in sizes]:
            value = loss(model, (INPUTS[rows], TARGETS[rows]), sizes)
            value = value if scaler is None else scaler.scale(value)
            if together:
                held.append(value)
            else:
                value.backward(None if gradient is None else torch.tensor(gradient))  # type: ignore[no-untyped-call]
            if recorder is not None:
                recorder.batch(indices=rows, **told)
        if held:
            torch.stack(held).sum().backward()  # type: ignore[no-untyped-call]
        if step not in skipped:
            optimizer.step() if scaler is None else scaler.step(optimizer)
            if scaler is not None:
                scaler.update()
    if recorder is not None:
        recorder.close()
    return model


def verified(trajectory: Trajectory) -> Any:
    return trajectory.verify(model=small_model(norm=False), loss=mean_loss, data=DATA, samples=30, device="cpu")


def require_exact(folder: Path, model: nn.Module, other: nn.Module) -> None:
    """The effect of the stage is the difference between two loops by hand."""
    study = aadsl.Study(open_trajectory(folder), model=model, loss=mean_loss, data=DATA, device="cpu")
    study.stage("stage", STAGE)
    study.behavior("held", lambda net, batch: -F.cross_entropy(net(batch[0]), batch[1], reduction="none"), on=DATA)
    answer = study.score(["stage"], ["held"])
    ends = [mean_loss(net, (INPUTS, TARGETS)).item() for net in (other, model)]
    assert answer.exact.all() and answer.effect.item() == pytest.approx(ends[0] - ends[1], abs=3e-7) != 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_is_measured(name: str, tmp_path: Path) -> None:
    options: Any = {"gradient": 0.3} if "gradient" in name else {}
    model = trained(tmp_path / "run", LOSSES[name], **options)
    report = verified(open_trajectory(tmp_path / "run"))
    assert report.ok and "every bit the same" in str(report), report
    if name in ("divided, a short group as well", "by class"):
        require_exact(tmp_path / "run", model, trained(None, LOSSES[name], STAGE, **options))


def test_a_weight_is_measured_beside_the_scale_of_mixed_precision(tmp_path: Path) -> None:
    loss = LOSSES["divided, a short group as well"]
    made = [torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3) for _ in range(2)]
    model = trained(tmp_path / "run", loss, scaler=made[0])
    require_exact(tmp_path / "run", model, trained(None, loss, STAGE, scaler=made[1]))
    plain = trained(tmp_path / "plain", loss)
    assert all(map(torch.equal, model.parameters(), plain.parameters()))
    losses = [open_trajectory(tmp_path / name).steps["loss"].values for name in ("run", "plain")]
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize("told", [0.25, 0.4])
def test_a_weight_that_is_told_counts(told: float, tmp_path: Path) -> None:
    trained(tmp_path, LOSSES["divided, a short group as well"], weight=told)
    trajectory = open_trajectory(tmp_path)
    report = verified(trajectory)
    if told == 0.25:
        assert report.ok and trajectory.micro_batch_weights(1) == (0.25, 0.25), report
    else:
        assert report.causes == ("told weights",), report
        assert "weight=0.4) was told at step 0, but the loss on which backward() was called was 0.25" in str(report)


def test_of_one_backward_pass_through_several_no_weight_is_known(tmp_path: Path) -> None:
    trained(tmp_path, LOSSES["added up"], together=True)
    trajectory = open_trajectory(tmp_path)
    assert trajectory.differentiated(0) == ()
    report = verified(trajectory)
    assert report.causes == ("untold weights",) and "were added up" in str(report), report


def test_nothing_is_kept_of_steps_with_one_micro_batch(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            mean_loss(model, (INPUTS[:8], TARGETS[:8])).backward()
            recorder.batch(indices=range(8))
            optimizer.step()
    trajectory = open_trajectory(tmp_path)
    assert [trajectory.differentiated(step) for step in range(3)] == [()] * 3
