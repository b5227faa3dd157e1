"""Training loops that do something which a recording cannot repeat: verification says what, and in which steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import WEIGHTS_WRITTEN, Recorder, open_trajectory
from aadsl.verification import Report
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd, small_model

Step = Callable[[int, nn.Module, Tensor], Tensor]


def verified(
    folder: Path,
    step: Step,
    told: bool = False,
    data: Any = DATA,
    after: Callable[[int, nn.Module], None] | None = None,
) -> Report:
    """Record 21 steps, each announced by its indices and with ``step(t, model, indices)`` as its loss."""
    model = small_model()
    optimizer = sgd(model)
    generator = torch.Generator().manual_seed(3)
    with Recorder(folder, model, optimizer, data) as recorder:
        for number in range(21):
            indices = torch.randint(60, (8,), generator=generator)
            optimizer.zero_grad()
            loss = step(number, model, indices)
            loss.backward()
            recorder.batch(indices=indices, **({"loss": loss} if told else {}))
            optimizer.step()
            if after:
                after(number, model)
    return open_trajectory(folder).verify(small_model(), mean_loss, data, samples=30, device="cpu")


def usual(number: int, model: nn.Module, indices: Tensor) -> Tensor:
    return mean_loss(model, DATA[indices])


@pytest.mark.parametrize("told", [False, True])
def test_one_step_used_another_batch(told: bool, tmp_path: Path) -> None:
    """The loss is recorded where the loop tells none."""

    def step(number: int, model: nn.Module, indices: Tensor) -> Tensor:
        return usual(number, model, (indices + 1) % 60 if number == 12 else indices)

    report = verified(tmp_path, step, told)
    assert report.causes == ("some steps differ",), report
    assert "until step 12 the losses" in str(report)
    assert "1 of 5 stretches do not fit" in str(report)


def test_the_loss_changed_halfway(tmp_path: Path) -> None:
    def step(number: int, model: nn.Module, indices: Tensor) -> Tensor:
        smoothing = 0.1 if number >= 12 else 0.0
        return nn.functional.cross_entropy(model(INPUTS[indices]), TARGETS[indices], label_smoothing=smoothing)

    report = verified(tmp_path, step, told=True)
    assert report.causes == ("some steps differ",) and "until step 12 the losses" in str(report), report


def test_every_step_used_another_batch(tmp_path: Path) -> None:
    report = verified(tmp_path, lambda number, model, indices: usual(number, model, (7 * indices + 3) % 60))
    assert report.causes == ("other loss",) and "other batches were used than those announced" in str(report), report


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("whole", [True, False])
def test_autocast_is_recorded_where_the_model_ran_under_it(dtype: str, whole: bool, tmp_path: Path) -> None:
    """The loss is written as without; at steps without autocast nothing is lowered."""

    def step(number: int, model: nn.Module, indices: Tensor) -> Tensor:
        if not whole and number % 3:
            return usual(number, model, indices)
        with torch.autocast("cpu", getattr(torch, dtype)):
            return usual(number, model, indices)

    report = verified(tmp_path / "run", step)
    assert report.ok, report
    names = open_trajectory(tmp_path / "run").steps["autocast"].values.tolist()
    assert names == [dtype if whole or not number % 3 else "" for number in range(21)]


def write(model: nn.Module, factor: float) -> None:
    with torch.no_grad():
        model[4].weight.mul_(factor)


def test_weights_were_written_between_steps(tmp_path: Path) -> None:
    report = verified(tmp_path, usual, after=lambda number, model: write(model, 0.5) if number == 11 else None)
    assert report.causes == ("weights written",), report
    assert "before step 12, something else than the optimizer wrote to the weights" in str(report)
    written = open_trajectory(tmp_path).steps[WEIGHTS_WRITTEN]
    assert (written == 1).values.nonzero()[0].tolist() == [12]


def test_weights_were_written_and_put_back(tmp_path: Path) -> None:
    """As a moving average of the weights is, for an evaluation."""

    def evaluate(number: int, model: nn.Module) -> None:
        kept = model[4].weight.detach().clone()
        write(model, 0.5)
        with torch.no_grad():
            model[4].weight.copy_(kept)

    assert verified(tmp_path, usual, after=evaluate).ok


def test_writing_explains_only_what_it_is_in(tmp_path: Path) -> None:
    """Where other steps do not fit either, something else is the reason."""

    def step(number: int, model: nn.Module, indices: Tensor) -> Tensor:
        return usual(number, model, (indices + 1) % 60 if number == 12 else indices)

    report = verified(tmp_path, step, after=lambda number, model: write(model, 0.5) if number == 3 else None)
    assert report.causes == ("some steps differ",), report
    assert "2 of 5 stretches do not fit" in str(report)


class Augmented(torch.utils.data.Dataset[Any]):
    """Examples with noise that is drawn each time they are asked for."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        return INPUTS[index] + 0.1 * torch.randn(6), TARGETS[index]


def test_data_that_are_random(tmp_path: Path) -> None:
    data = Augmented()

    def step(number: int, model: nn.Module, indices: Tensor) -> Tensor:
        examples = [data[index] for index in indices.tolist()]
        return mean_loss(model, torch.utils.data.default_collate(examples))

    report = verified(tmp_path, step, data=data)
    assert report.causes == ("random data",) and "record the batches themselves" in str(report), report


def test_a_layer_that_is_frozen_halfway_is_refused(tmp_path: Path) -> None:
    def freeze(number: int, model: nn.Module) -> None:
        model[0].requires_grad_(number < 11)

    with pytest.raises(AadslError, match=r'"0.weight" was trained when recording began, .*\n.*open_trajectory'):
        verified(tmp_path, usual, after=freeze)
    assert open_trajectory(tmp_path).length == 12
    assert open_trajectory(tmp_path).verify(small_model(), mean_loss, DATA, device="cpu").ok
