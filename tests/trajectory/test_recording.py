"""What is read back is what the loop did, bit by bit, for any optimizer, dtype and plan."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Clip, Recorder, budget, every, open_trajectory
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, same, sgd, small_model, train

OPTIMIZERS = {
    "sgd": sgd,
    "plain": lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
    "nesterov": lambda model: sgd(model, nesterov=True),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.8, 0.99)),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True),
    "rmsprop": lambda model: torch.optim.RMSprop(model.parameters(), lr=0.01, centered=True),
    "adagrad": lambda model: torch.optim.Adagrad(model.parameters(), lr=0.01),
    "adadelta": lambda model: torch.optim.Adadelta(model.parameters()),
    "nadam": lambda model: torch.optim.NAdam(model.parameters()),
    "asgd": lambda model: torch.optim.ASGD(model.parameters()),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("announce", ["indices", "tensors"])
def test_every_state_and_step_reads_back(tmp_path: Path, name: str, announce: str) -> None:
    model = small_model(dropout=0.3)
    optimizer = OPTIMIZERS[name](model)
    with Recorder(tmp_path, model, optimizer, DATA, states="all") as recorder:
        kept = train(recorder, model, optimizer, 12, announce=announce)
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 12
    assert trajectory.checkpoints == tuple(range(13))
    assert trajectory.optimizer == type(optimizer).__name__
    for step in range(13):
        state = trajectory.state(step)
        assert same({**state.parameters, **state.buffers}, kept.states[step])
        assert state.optimizer.keys() == kept.slots[step].keys()
        for slot, tensors in kept.slots[step].items():
            assert same(state.optimizer[slot], tensors), slot
    for step in range(12):
        assert trajectory.hyperparameters(step)[0]["lr"] == kept.rates[step]
        assert torch.equal(trajectory.rng_state(step), kept.generators[step])
        if announce == "indices":
            assert np.array_equal(trajectory.batch_indices(step), kept.indices[step])
            assert trajectory.batch_tensors(step) is None
        else:
            inputs, targets = trajectory.batch_tensors(step)
            assert torch.equal(inputs, INPUTS[kept.indices[step]])
            assert torch.equal(targets, TARGETS[kept.indices[step]])
            assert trajectory.batch_indices(step) is None
    assert np.array_equal(trajectory.steps["loss"], np.float64(np.float32(kept.losses)))
    assert trajectory.steps["tag"].values.tolist() == ["bad" if t % 3 == 0 else "good" for t in range(12)]
    assert trajectory.steps["epoch"].values.tolist() == [t // 5 for t in range(12)]


def test_adam_betas_are_numbered(tmp_path: Path) -> None:
    model = small_model()
    optimizer = OPTIMIZERS["adam"](model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        train(recorder, model, optimizer, 2)
    hyperparameters = open_trajectory(tmp_path).hyperparameters(1)[0]
    assert (hyperparameters["beta1"], hyperparameters["beta2"], hyperparameters["eps"]) == (0.8, 0.99, 1e-8)


def test_a_learning_rate_in_a_tensor_that_changes_in_place(tmp_path: Path) -> None:
    model = small_model()
    rate = torch.tensor(0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for step in range(6):
            if step % 2:
                rate.mul_(0.5)
            mean_loss(model, (INPUTS, TARGETS)).backward()
            recorder.batch(indices=[0])
            optimizer.step()
    assert open_trajectory(tmp_path).steps["lr"].values.tolist() == [0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]


def test_nothing_is_aliased(tmp_path: Path) -> None:
    """Changing the model right after a step must not change what the background thread writes."""
    model = small_model()
    optimizer = sgd(model)
    recorder = Recorder(tmp_path, model, optimizer, states="all")
    kept = train(recorder, model, optimizer, 3)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.zero_()
    recorder.flush()
    state = open_trajectory(tmp_path).state(3)
    assert same({**state.parameters, **state.buffers}, kept.states[3])
    recorder.close()


def test_groups_that_differ_and_groups_that_agree(tmp_path: Path) -> None:
    model = small_model()
    head, rest = list(model[4].parameters()), [*model[0].parameters(), *model[1].parameters()]
    optimizer = torch.optim.SGD([{"params": rest}, {"params": head, "lr": 0.5}], lr=0.1, momentum=0.9)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for step in range(4):
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            model(INPUTS).sum().backward()
            recorder.batch((INPUTS,))
            optimizer.step()
    trajectory = open_trajectory(tmp_path)
    assert {"lr_0", "lr_1", "momentum"} <= set(trajectory.steps) and "lr" not in trajectory.steps
    assert [trajectory.hyperparameters(t)[0]["lr"] for t in range(4)] == [0.1 / (t + 1) for t in range(4)]
    assert [trajectory.hyperparameters(t)[1]["lr"] for t in range(4)] == [0.5] * 4
    assert [trajectory.parameters[name].group for name in ("0.weight", "4.bias")] == [0, 1]


def test_groups_that_agree_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.trajectory.record.journal.FLUSH_SECONDS", -1.0)  # a segment a step
    model = small_model()
    optimizer = torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[4].parameters()}], lr=0.1)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for step in range(9):
            optimizer.param_groups[1]["lr"] = 0.1 if step < 6 else 0.01
            model(INPUTS).sum().backward()
            recorder.batch((INPUTS,))
            optimizer.step()
        recorder.flush()
        rates = open_trajectory(tmp_path).steps["lr_1"].values.tolist()
        assert rates == [0.1] * 6 + [0.01] * 3
    trajectory = open_trajectory(tmp_path)
    assert trajectory.steps["lr_0"].values.tolist() == [0.1] * 9
    assert trajectory.steps["lr_1"].values.tolist() == rates


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    model = nn.Linear(6, 3).to(dtype)
    model.register_buffer("mask", torch.tensor([True, False]))
    model.register_buffer("phase", torch.tensor([1 + 2j]))
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        model(INPUTS.to(dtype)).sum().backward()
        recorder.batch((INPUTS.to(dtype), TARGETS))
        optimizer.step()
    trajectory = open_trajectory(tmp_path)
    state = trajectory.state(1)
    assert same({**state.parameters, **state.buffers}, model.state_dict())
    assert state.optimizer["momentum_buffer"]["weight"].dtype == dtype
    assert torch.equal(trajectory.batch_tensors(0)[0], INPUTS.to(dtype))


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_the_square_root_plan_keeps_its_bound(tmp_path: Path, steps: int) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        kept = train(recorder, model, optimizer, steps)
    trajectory = open_trajectory(tmp_path)
    checkpoints = trajectory.checkpoints
    assert checkpoints[0] == 0 and checkpoints[-1] == steps
    assert len(checkpoints) <= sqrt(steps / 2) + 3
    assert max(np.diff(checkpoints)) <= 4 * sqrt(steps / 2)
    for step in checkpoints:
        assert same(trajectory.state(step).parameters, {n: kept.states[step][n] for n in trajectory.parameters})


def test_other_plans(tmp_path: Path) -> None:
    expected = {"each": (4, (0, 4, 8, 10)), "plan": (every(5), (0, 5, 10))}
    for name, (states, checkpoints) in expected.items():
        model = small_model()
        optimizer = sgd(model)
        with Recorder(tmp_path / name, model, optimizer, states=states) as recorder:
            train(recorder, model, optimizer, 10)
        assert open_trajectory(tmp_path / name).checkpoints == checkpoints


def test_a_budget_thins_what_was_stored(tmp_path: Path) -> None:
    model = nn.Linear(6, 3)
    optimizer = sgd(model)
    size = 4 * (18 + 3) * 2
    with Recorder(tmp_path, model, optimizer, states=budget(size * 9)) as recorder:
        train(recorder, model, optimizer, 40)
    checkpoints = open_trajectory(tmp_path).checkpoints
    assert checkpoints[0] == 0 and checkpoints[-1] == 40
    assert 5 <= len(checkpoints) <= 9
    assert len(set(np.diff(checkpoints[:-1]))) == 1


def test_micro_batches_of_one_step(tmp_path: Path) -> None:
    model = small_model(dropout=0.5)
    optimizer = sgd(model)
    states = []
    with Recorder(tmp_path, model, optimizer, accumulate=2) as recorder:
        for _ in range(3):
            for part, size in enumerate([5, 3]):
                states.append(torch.get_rng_state())
                loss = model(INPUTS[:size]).sum()
                loss.backward()
                recorder.batch(indices=range(part, part + size), loss=float(part), tag="x")
                torch.rand(7)  # augmentation, say, between the micro-batches
            optimizer.step()
            optimizer.zero_grad()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 3 and trajectory.accumulation == 2
    assert trajectory.batch_indices(1).tolist() == [0, 1, 2, 3, 4, 1, 2, 3]
    assert trajectory.micro_batch_sizes(2) == (5, 3)
    assert trajectory.steps["batch_size"].values.tolist() == [8, 8, 8]
    assert trajectory.steps["loss"].values.tolist() == [0.5] * 3
    assert torch.equal(trajectory.rng_state(1), states[2])
    assert torch.equal(trajectory.rng_state(1, micro_batch=1), states[3])


class Partly(nn.Module):
    """A model whose smallest parameter is used by the first batches alone, or by none."""

    def __init__(self, uses: int) -> None:
        super().__init__()
        self.body = small_model()
        self.offset = nn.Parameter(torch.zeros(1))
        self.uses = uses

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.uses -= 1
        found: torch.Tensor = self.body(inputs)
        return found + self.offset if self.uses >= 0 else found


@pytest.mark.parametrize("uses", [0, 1, 2, 9])
@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_a_skipped_step_is_not_a_micro_batch(tmp_path: Path, uses: int, skipped: int) -> None:
    """Mixed precision skips a step whose gradient overflowed; zero_grad() then discards it."""
    model = Partly(uses)
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu")
    with Recorder(tmp_path, model, optimizer) as recorder:
        for index in range(4):
            optimizer.zero_grad()
            loss = model(INPUTS).sum() * (torch.inf if index == skipped else 1.0)
            scaler.scale(loss).backward()
            recorder.batch(indices=[index])
            scaler.step(optimizer)
            scaler.update()
    trajectory = open_trajectory(tmp_path)
    taken = [[index] for index in range(4) if index != skipped]
    assert [trajectory.batch_indices(t).tolist() for t in range(trajectory.length)] == taken


def test_one_parameter_without_gradient_discards_no_micro_batch(tmp_path: Path) -> None:
    """A parameter is kept as it is by taking its gradient away, between the micro-batches too."""
    model = Partly(9)
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for index in range(2):
            recorder.batch(indices=[index])
            model(INPUTS).sum().backward()
            model.offset.grad = None
        optimizer.step()
    assert open_trajectory(tmp_path).batch_indices(0).tolist() == [0, 1]


def test_two_forwards_before_one_backward_are_both_kept(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        total = 0
        for index in range(2):
            recorder.batch(indices=[index])
            total = total + model(INPUTS).sum()
        total.backward()
        optimizer.step()
    assert open_trajectory(tmp_path).batch_indices(0).tolist() == [0, 1]


def test_mode_of_model_and_of_single_modules(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for training in (True, False, True):
            model.train(training)
            model[1].eval()
            recorder.batch(indices=[0])
            model(INPUTS).sum().backward()
            model.eval()
            with torch.no_grad():
                model(INPUTS)  # evaluation is not training
            optimizer.step()
    trajectory = open_trajectory(tmp_path)
    assert [trajectory.training(t) for t in range(3)] == [True, False, True]
    assert trajectory.modules_off_mode(0) == ("1",) and trajectory.modules_off_mode(1) == ()
    assert trajectory.rng_state(0) is None


def test_batch_announced_before_or_after_the_forward_keeps_the_generator(tmp_path: Path) -> None:
    for place in ("before", "after"):
        model = small_model(dropout=0.5)
        optimizer = sgd(model)
        torch.manual_seed(5)
        with Recorder(tmp_path / place, model, optimizer) as recorder:
            for _ in range(2):
                if place == "before":
                    recorder.batch(indices=[0])
                model(INPUTS).sum().backward()
                if place == "after":
                    recorder.batch(indices=[0])
                optimizer.step()
    before, after = (open_trajectory(tmp_path / place) for place in ("before", "after"))
    assert before.rng_state(1) is not None
    assert torch.equal(before.rng_state(1), after.rng_state(1))


def test_frozen_and_tied_parameters(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[1].weight
    model[0].requires_grad_(False)
    optimizer = sgd(nn.ModuleList(model[1:]))
    with Recorder(tmp_path, model, optimizer) as recorder:
        model(INPUTS[:, :4]).sum().backward()
        recorder.batch(indices=[0])
        optimizer.step()
    trajectory = open_trajectory(tmp_path)
    assert set(trajectory.parameters) == {"1.weight", "1.bias", "2.bias"}
    assert trajectory.parameters["1.weight"].aliases == ("2.weight",)
    assert set(trajectory.state(1).parameters) == set(trajectory.parameters)


def test_what_an_optimizer_has_but_does_not_train(tmp_path: Path) -> None:
    """PyTorch leaves a parameter without gradient alone, weight decay included: it is frozen like those elsewhere."""
    model = small_model()
    model[0].requires_grad_(False)
    optimizer = sgd(model)
    with Recorder(tmp_path / "run", model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 3)
    trajectory = open_trajectory(tmp_path / "run")
    assert not {"0.weight", "0.bias"} & set(trajectory.parameters)
    assert trajectory.verify(model=model, loss=mean_loss, data=DATA, device="cpu").ok
    with Recorder(tmp_path / "again", model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 2)
        model[0].requires_grad_(True)
        with pytest.raises(AadslError, match=r'"0\.weight" did not require gradients when recording began'):
            train(recorder, model, optimizer, 1)


def test_missing_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aadsl.trajectory.record.journal.FLUSH_SECONDS", -1.0)
    model = nn.Linear(6, 3)
    optimizer = sgd(model)
    extras = [{}, {"tag": "a", "count": 3}, {"noisy": True}, {"tag": "b", "noisy": False}]
    with Recorder(tmp_path, model, optimizer) as recorder:
        for extra in extras:
            model(INPUTS).sum().backward()
            recorder.batch(indices=[0], **extra)
            optimizer.step()
    steps = open_trajectory(tmp_path).steps
    assert steps["tag"].values.tolist() == ["", "a", "", "b"]
    assert np.array_equal(steps["count"], [np.nan, 3, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(steps["noisy"], [np.nan, np.nan, 1, 0], equal_nan=True)
    assert (steps["tag"] == "a").values.tolist() == [False, True, False, False]


def test_phases_and_optimizer_resets(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path / "run", model, optimizer) as recorder:
        kept = train(recorder, model, optimizer, 4)
        recorder.phase("second")
        optimizer.state.clear()
        train(recorder, model, optimizer, 2, kept=kept)
        recorder.phase("third")
        train(recorder, model, optimizer, 2)
    trajectory = open_trajectory(tmp_path / "run")
    found = [(phase.name, phase.start, phase.stop, phase.resets_optimizer) for phase in trajectory.phases]
    assert found == [("run", 0, 4, True), ("second", 4, 6, True), ("third", 6, 8, False)]
    assert trajectory.state(4).optimizer == {}  # the state that step 4 reads
    assert {4, 6} <= set(trajectory.checkpoints)


def test_clip_is_declared(tmp_path: Path) -> None:
    for name, declared, expected in [
        ("norm", 0.5, Clip("norm", 0.5)),
        ("value", Clip("value", 0.1), Clip("value", 0.1)),
        ("none", None, None),
    ]:
        model = small_model()
        optimizer = sgd(model)
        with Recorder(tmp_path / name, model, optimizer, clip=declared) as recorder:
            train(recorder, model, optimizer, 1)
        assert open_trajectory(tmp_path / name).clip == expected


def test_per_example_metadata(tmp_path: Path) -> None:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path, model, optimizer) as recorder:
        for step in range(2):
            model(INPUTS).sum().backward()
            recorder.batch(indices=[3, 4], noisy=[True, step == 1], source=np.array(["web", "book"]))
            optimizer.step()
    with xr.open_dataset(tmp_path / "batches-0-2.nc") as dataset:
        assert dataset["noisy"].values.tolist() == [True, False, True, True]
        assert dataset["source_labels"].values[dataset["source"].values].tolist() == ["web", "book"] * 2
        assert dataset["row_size"].attrs["sample_dimension"] == "example"
