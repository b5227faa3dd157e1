"""Which forward passes train, which announced batches were used, and what takes an optimizer's place."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.core.generators import as_tensor, left_as_they_were, set_state, state_of
from aadsl.trajectory import Recorder, open_trajectory
from aadsl.trajectory.record import backward
from aadsl.trajectory.record.matching import ForwardPass, matched
from aadsl.trajectory.record.rows import MicroBatch
from tests.engine.own_optimizers import Signed
from tests.trajectory.loops import DATA, INPUTS, mean_loss, sgd, small_model, train

TASK = 7


def used(events: str) -> list[tuple[int, int | None]]:
    """Return the announcements (A) that were used, by number, with the number of their training pass.

    F is a pass that trained, V one that did not.
    """
    passes, batches, seen = [], [], []
    for letter in events:
        if letter == "A":
            batches.append(MicroBatch(len(batches)))
            seen.append(None)
        else:
            one = ForwardPass(True, "", {})
            one.tasks = (TASK,) if letter == "F" else ()
            passes.append(one)
            seen.append(one)
    return [(batch.size, None if one is None else passes.index(one)) for batch, one in matched(seen, batches, {TASK})]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("AF", [(0, 0)]),
        ("FA", [(0, 0)]),
        ("A", [(0, None)]),  # parts of the model were called, not the model
        ("VAF", [(0, 1)]),
        ("FAV", [(0, 0)]),
        ("AFV", [(0, 0)]),
        ("FFA", [(0, 0)]),  # two passes of one batch
        ("FAF", [(0, 0)]),
        ("AFAF", [(0, 0), (1, 1)]),
        ("FAFA", [(0, 0), (1, 1)]),
        ("VAFAF", [(0, 1), (1, 2)]),
        ("FAVFA", [(0, 0), (1, 2)]),
        ("AFFAFF", [(0, 0), (1, 2)]),
        ("AVAF", [(1, 1)]),  # left out before its backward pass
        ("VAFA", [(1, 1)]),
        ("VAVAFA", [(2, 2)]),
        ("AFAVAF", [(0, 0), (2, 2)]),
        ("VAVA", [(0, 0), (1, 1)]),  # what is differentiated cannot be seen
    ],
)
def test_batches_find_their_passes(events: str, expected: list[tuple[int, int | None]]) -> None:
    assert used(events) == expected


def test_a_batch_that_no_step_used_is_told(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    told = "a batch was announced for step 3, and the step did not use it: left out"
    with pytest.warns(UserWarning, match=told), Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 3)
        mean_loss(model, DATA[:8]).backward()
        recorder.batch(indices=range(8))
    assert open_trajectory(tmp_path).length == 3


def test_what_is_told_of_a_batch_that_is_left_out_does_not_count(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        mean_loss(model, DATA[:8])
        recorder.batch(indices=range(8), loss=1e30, tag="lost")
        mean_loss(model, DATA[8:16]).backward()
        recorder.batch(indices=range(8, 16), loss=2.0, tag="used")
        with pytest.warns(UserWarning, match="announced for step 0"):
            optimizer.step()
    steps = open_trajectory(tmp_path).steps
    assert (float(steps["loss"][0]), str(steps["tag"].values[0])) == (2.0, "used")


def test_declared_accumulation_counts_what_is_used(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA, accumulate=2) as recorder:
        for start in (0, 8, 16):
            recorder.batch(indices=range(start, start + 8))
            loss = mean_loss(model, DATA[start : start + 8])
            if start != 8:
                (loss / 2).backward()
        with pytest.warns(UserWarning, match="left out"):
            optimizer.step()
    assert open_trajectory(tmp_path).batch_indices(0).tolist() == [*range(8), *range(16, 24)]


def test_gradients_that_something_else_wrote_to_are_not_discarded(tmp_path: Path) -> None:
    """Clipping between two micro-batches writes to them as zeroing does."""
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        for start in (0, 8):
            recorder.batch(indices=range(start, start + 8))
            (mean_loss(model, DATA[start : start + 8]) / 2).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
    assert open_trajectory(tmp_path).micro_batch_sizes(0) == (8, 8)


@pytest.mark.parametrize("container", [lambda x: (x,), lambda x: {"logits": x}, lambda x: [{"a": (x, None)}]])
def test_outputs_in_containers_are_seen(container: object, tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_model()

        def forward(self, inputs: torch.Tensor) -> object:
            return container(self.inner(inputs))  # type: ignore[operator]

    model = Wrapped()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        model.eval()(INPUTS)  # with gradients, but never differentiated
        model.train()
        output = model(INPUTS[:8])
        while not isinstance(output, torch.Tensor):
            output = next(iter(output.values() if isinstance(output, dict) else output))
        recorder.batch(INPUTS[:8])
        output.sum().backward()
        optimizer.step()
    assert open_trajectory(tmp_path).training(0)


def test_a_frozen_weight_that_changes_is_refused(tmp_path: Path) -> None:
    model = small_model()
    frozen = next(model.parameters()).requires_grad_(False)
    optimizer = sgd(model)
    told = "is not trained by the optimizer that is recorded, and was changed since"
    with pytest.raises(AadslError, match=told), Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 1)
        with torch.no_grad():
            frozen.mul_(1)
        train(recorder, model, optimizer, 5, first=1)
        with torch.no_grad():
            frozen.mul_(2)
        train(recorder, model, optimizer, 8, first=6)


def test_an_optimizer_of_another_model_is_none_of_the_recorders_business(tmp_path: Path) -> None:
    model, other = small_model(), small_model()
    optimizer, its = sgd(model), sgd(other)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        for step in range(3):
            train(recorder, model, optimizer, 1, first=step)
            mean_loss(other, DATA[:8]).backward()
            its.step()
    assert open_trajectory(tmp_path).length == 3


@pytest.mark.parametrize("norm", [False, True])
def test_an_optimizer_that_takes_the_place_begins_a_phase(norm: bool, tmp_path: Path) -> None:
    model = small_model(norm=norm)
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 5)
        train(recorder, model, sgd(model), 4, first=5)
    trajectory = open_trajectory(tmp_path)
    assert [(p.start, p.stop, p.resets_optimizer) for p in trajectory.phases] == [(0, 5, True), (5, 9, True)]
    assert trajectory.phases[1].name.endswith(", new optimizer at 5")
    assert trajectory.verify(model=model, loss=mean_loss, data=DATA, samples=20, device="cpu").ok


def test_generators_are_set_and_left_as_they_were() -> None:
    def drawn() -> tuple[float, ...]:
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(()))

    names = ["cpu", "python", "numpy"]
    drawn()
    states = {name: as_tensor(state_of(name)) for name in names}
    with left_as_they_were(names):
        first = drawn()
    assert drawn() == first
    for name, state in states.items():
        set_state(name, state)
    assert drawn() == first


def test_pytorch_is_as_it_was_after_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = backward._plain  # recorders that other tests killed watch for as long as this process lives
    monkeypatch.setattr(backward, "_watching", [])
    monkeypatch.setattr(torch.autograd, "backward", plain)
    model, other = small_model(), small_model()
    with Recorder(tmp_path / "a", model, sgd(model), DATA), Recorder(tmp_path / "b", other, sgd(other), DATA):
        assert torch.autograd.backward is not plain
    assert torch.autograd.backward is plain


def test_the_loss_is_that_of_the_model_and_of_all_micro_batches(tmp_path: Path) -> None:
    model, other = small_model(norm=False), small_model(norm=False)
    optimizer, expected = sgd(model), []
    with Recorder(tmp_path, model, optimizer, DATA) as recorder:
        for step in range(3):
            mean_loss(other, DATA[:8]).backward()  # of another model
            losses = [mean_loss(model, DATA[8 * part : 8 * part + 8]) / 2 for part in range(2)]
            optimizer.zero_grad()
            for part, loss in enumerate(losses):
                recorder.batch(indices=range(8 * part, 8 * part + 8))
                (loss * torch.tensor(1024.0) if step == 2 else loss).backward()
            expected.append(float(sum(losses)))
            optimizer.step()
    recorded = open_trajectory(tmp_path).steps["loss"].values
    np.testing.assert_allclose(recorded, expected, rtol=1e-6)  # without the scale of mixed precision


def test_parameters_that_others_took_the_place_of_are_refused_at_that_step(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    told = 'has another parameter "0.weight" now than when recording began'
    with pytest.raises(AadslError, match=told), Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 3)
        model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
        train(recorder, model, optimizer, 1, first=3)
    assert open_trajectory(tmp_path).length == 3


def test_what_can_be_asked_is_told_before_the_training(tmp_path: Path) -> None:
    model = small_model()
    message = r"with Signed exact answers can be had, using retraining\(\), but no est"
    with pytest.warns(UserWarning, match=message) as told:
        Recorder(tmp_path, model, Signed(model.parameters(), lr=0.1), DATA).close()
    assert told[0].filename == __file__
