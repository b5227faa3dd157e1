"""What the model decided in a run is noted of its steps, and told of answers: a rerun might decide otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

import aadsl
from aadsl.trajectory import Recorder, open_trajectory
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd, small_model
from tests.trajectory.test_scaler import OPTIMIZERS
from tests.trajectory.test_scaler import trained as scaled

EPOCHS, STEPS = 3, 4


def trained(folder: Path, plateau: bool = False, **options: Any) -> torch.nn.Module:
    model, generator = small_model(norm=False), torch.Generator().manual_seed(1)
    optimizer, other = sgd(model), sgd(small_model())
    scheduler = ReduceLROnPlateau(optimizer if plateau else other, patience=0, threshold=10.0)
    with Recorder(folder, model, optimizer, DATA, **options) as recorder:
        for _ in range(EPOCHS):
            for _ in range(STEPS):
                rows = torch.randint(60, (8,), generator=generator)
                recorder.batch(indices=rows)
                optimizer.zero_grad()
                mean_loss(model, (INPUTS[rows], TARGETS[rows])).backward()
                optimizer.step()
            scheduler.step(mean_loss(model, (INPUTS, TARGETS)).item())
    return model


def asked(folder: Path, model: torch.nn.Module, steps: list[int]) -> Any:
    study = aadsl.Study(open_trajectory(folder), model=model, loss=mean_loss, data=DATA, device="cpu")
    study.stage("stage", steps)
    study.behavior("held", "log_likelihood", on=DATA)
    return study.score(["stage"], ["held"])


def test_a_plateau_schedule_is_seen(tmp_path: Path) -> None:
    before = ReduceLROnPlateau.step
    model = trained(tmp_path, plateau=True)
    assert ReduceLROnPlateau.step is before
    steps = open_trajectory(tmp_path).steps
    assert [bool(text) for text in steps["decided_by_model"].values] == [t in (4, 8) for t in range(EPOCHS * STEPS)]
    assert steps["lr"].values[[0, 4, 8]] == pytest.approx([0.1, 0.01, 0.001])
    early, late = (asked(tmp_path, model, own) for own in ([2, 3], [9, 10]))
    assert early.exact.all() and early.trust.item() == "medium" and late.trust.item() == "high"
    assert "takes the learning rate (a plateau schedule) as recorded, and training anew" in early.trust_reason.item()
    assert early.attrs["question"].endswith(", with the learning rate (a plateau schedule) as recorded?")
    assert "recorded" not in late.attrs["question"]


def test_a_schedule_of_another_optimizer_is_no_matter(tmp_path: Path) -> None:
    model = trained(tmp_path)
    assert "decided_by_model" not in open_trajectory(tmp_path).steps
    assert asked(tmp_path, model, [2, 3]).trust.item() == "high"


def test_what_is_declared_lowers_the_trust(tmp_path: Path) -> None:
    answer = asked(tmp_path, trained(tmp_path, plateau=True, adaptive=True), [9])
    assert answer.exact.all() and answer.trust.item() == "medium"
    assert "takes what adaptive=True declares as recorded" in answer.trust_reason.item()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_skipped_steps_are_seen(kind: str, tmp_path: Path) -> None:
    scaled(tmp_path, OPTIMIZERS[kind])
    steps = open_trajectory(tmp_path).steps
    told = steps["number"].values[steps["decided_by_model"].values != ""]
    assert told.tolist() == [2, 6]  # after the skipped ones
