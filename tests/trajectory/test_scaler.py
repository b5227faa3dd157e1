"""Mixed precision with a GradScaler: steps that it skips are none, whoever skips and wherever gradients are zeroed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.trajectory import Recorder, open_trajectory
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd, small_model

STEPS, SKIPPED = 8, (1, 4, 5)  # iterations of the loop, and those whose gradients are not finite
OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": sgd,
    "fused AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, fused=True),
}


def trained(
    folder: Path | None,
    make: Callable[[nn.Module], torch.optim.Optimizer],
    where: str = "before",
    to_none: bool = True,
    announced: str = "before",
    unscale: bool = False,
    left_out: Sequence[int] = (),
) -> nn.Module:
    """Train by a scaler, recorded where there is a folder; gradients are zeroed before the pass or after the step."""
    model, generator = small_model(norm=False), torch.Generator().manual_seed(5)
    optimizer, scaler = make(model), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    recorder = None if folder is None else Recorder(folder, model, optimizer, DATA, overwrite=True)
    for number in range(STEPS):
        rows = torch.randint(60, (8,), generator=generator)
        if recorder is not None and announced == "before":
            recorder.batch(indices=rows, number=number)
        if where == "before":
            optimizer.zero_grad(set_to_none=to_none)
        loss = mean_loss(model, (INPUTS[rows], TARGETS[rows])) * (torch.inf if number in SKIPPED else 1.0)
        scaler.scale(loss).backward()
        if recorder is not None and announced == "after":
            recorder.batch(indices=rows, number=number)
        if unscale:
            scaler.unscale_(optimizer)
        if number not in left_out:
            scaler.step(optimizer)
            scaler.update()
        if where == "after":
            (optimizer if number % 2 else model).zero_grad(set_to_none=to_none)
    if recorder is not None:
        recorder.close()
    return model


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_skipped_step_is_none(kind: str, tmp_path: Path) -> None:
    for where, to_none, announced in product(("before", "after"), (True, False), ("before", "after")):
        model = trained(tmp_path, OPTIMIZERS[kind], where, to_none, announced, unscale=to_none)
        trajectory = open_trajectory(tmp_path)
        assert trajectory.steps["number"].values.tolist() == [n for n in range(STEPS) if n not in SKIPPED]
        assert not any(name.endswith("_written") for name in trajectory.steps)
        final = trajectory.state(trajectory.length).parameters
        assert all(torch.equal(final[name], value) for name, value in model.named_parameters())
        report = trajectory.verify(model=small_model(norm=False), loss=mean_loss, data=DATA, device="cpu")
        assert report.ok and "every bit the same" in str(report), (where, to_none, announced, report)


def test_the_exact_answer_is_that_of_the_loop(tmp_path: Path) -> None:
    make = OPTIMIZERS["fused AdamW"]
    model, other = trained(tmp_path, make), trained(None, make, left_out=(3,))
    study = aadsl.Study(open_trajectory(tmp_path), model=model, loss=mean_loss, data=DATA, device="cpu")
    study.stage("one", study.steps["number"] == 3)
    study.behavior("held", lambda net, batch: -F.cross_entropy(net(batch[0]), batch[1], reduction="none"), on=DATA)
    answer: Any = study.score(["one"], ["held"])
    ends = [mean_loss(net, (INPUTS, TARGETS)).item() for net in (other, model)]
    assert answer.exact.all() and answer.effect.item() == pytest.approx(ends[0] - ends[1], abs=3e-7) != 0


def test_float32_copies_of_the_weights_are_told(tmp_path: Path) -> None:
    model = small_model(norm=False).bfloat16()
    copies = [nn.Parameter(parameter.detach().float()) for parameter in model.parameters()]
    together = [nn.Parameter(nn.utils.parameters_to_vector(copies).detach())]
    for masters in (copies, together):
        with pytest.raises(AadslError, match=r"no parameter of the model[\s\S]*float32 copies[\s\S]*torch\.autocast"):
            Recorder(tmp_path, model, torch.optim.AdamW(masters), DATA)
