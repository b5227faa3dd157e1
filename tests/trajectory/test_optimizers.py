"""Several optimizers of one model, recorded together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aadsl import AadslError, Recorder, open_trajectory
from tests.trajectory.forging import rewrite
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, small_model

LENGTH = 9


def pair(model: nn.Module, head: str = "AdamW") -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    body = torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)
    return body, getattr(torch.optim, head)(model[4].parameters(), lr=0.01)


def backward(model: nn.Module, step: int) -> None:
    model.zero_grad()
    rows = slice(4 * step, 4 * step + 4)
    mean_loss(model, (INPUTS[rows], TARGETS[rows])).backward()


def announce(recorder: Recorder, step: int) -> None:
    recorder.batch(indices=range(4 * step, 4 * step + 4))


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("early", [True, False], ids=["announced before the forward pass", "after it"])
def test_one_rests_while_the_other_steps(tmp_path: Path, early: bool) -> None:
    model, states, slots = small_model(norm=False), [], []
    body, head = pair(model)
    with Recorder(tmp_path / "run", model, [body, head], DATA, states="all") as recorder:
        for t in range(LENGTH):
            assert recorder.step == t
            states.append(parameters(model))
            slots.append({k: {n: v.clone() for n, v in s.items()} for k, s in head.state.items()})
            if early:
                announce(recorder, t)
            backward(model, t)
            if not early:
                announce(recorder, t)
            body.step()
            if t % 3 == 1:
                head.step()
        states.append(parameters(model))
    trajectory = open_trajectory(tmp_path / "run")
    assert not trajectory.violations()
    assert (trajectory.length, trajectory.optimizer, trajectory.group_count) == (LENGTH, "SGD and AdamW", 2)
    assert trajectory.checkpoints == tuple(range(LENGTH + 1))
    for t, expected in enumerate(states):
        found = trajectory.state(t).parameters
        assert all(torch.equal(found[name], value) for name, value in expected.items()), t
    for t, expected in enumerate(slots):
        found = trajectory.state(t).optimizer.get("exp_avg", {})
        assert all(torch.equal(found[n], expected[p]["exp_avg"]) for n, p in model[4].named_parameters("4") if expected)
    assert [trajectory.optimizers(t) for t in range(3)] == [("SGD", None), ("SGD", "AdamW"), ("SGD", None)]
    assert trajectory.optimizers_of_run(0) == ("SGD", "AdamW")
    assert [trajectory.hyperparameters(t)[1]["lr"] for t in range(3)] == [0.0, 0.01, 0.0]
    assert trajectory.steps["resting_groups"].values.tolist() == ["1", "", "1"] * 3
    assert "fresh_groups" not in trajectory.steps
    first, second = trajectory.hyperparameters(1)
    assert first["momentum"] == 0.9 and "momentum" not in second and "beta1" not in first and second["beta1"] == 0.9
    assert {"lr_0", "lr_1", "momentum_0", "beta1_1"} <= set(trajectory.steps.data_vars)
    assert "torch.optim.sgd.SGD, torch.optim.adamw.AdamW" in trajectory.provenance["optimizer_class"]
    trajectory.to_netcdf(tmp_path / "whole.nc")
    assert open_trajectory(tmp_path / "whole.nc").optimizers(0) == ("SGD", None)


def test_each_at_its_own_learning_rate(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(one, 0.5) for one in (body, head)]
    used = []
    with Recorder(tmp_path, model, (body, head), DATA) as recorder:
        for t in range(LENGTH):
            announce(recorder, t)
            backward(model, t)
            used.append(tuple(one.param_groups[0]["lr"] for one in (body, head)))
            for one, schedule in zip((body, head), schedules, strict=True):
                one.step()
                schedule.step()
    trajectory = open_trajectory(tmp_path)
    assert [tuple(h["lr"] for h in trajectory.hyperparameters(t)) for t in range(LENGTH)] == used
    assert "resting_groups" not in trajectory.steps and "weights_written" not in trajectory.steps
    assert not trajectory.violations()


def test_two_of_one_class_are_told_like_groups(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model, "SGD")
    with Recorder(tmp_path, model, [body, head], DATA) as recorder:
        announce(recorder, 0)
        backward(model, 0)
        body.step()
        head.step()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.optimizer == "SGD" and trajectory.optimizers(0) == ("SGD", "SGD")
    assert [h["momentum"] for h in trajectory.hyperparameters(0)] == [0.9, 0.0]


ENDS: dict[str, Callable[[Recorder, nn.Module], Any]] = {
    "announcement": lambda recorder, model: (
        announce(recorder, 1),
        recorder._loop._commit(),
        recorder._journal.flush(),
    ),
    "forward pass": lambda recorder, model: (model(INPUTS), recorder._loop._commit(), recorder._journal.flush()),
    "phase": lambda recorder, model: (recorder.phase("b"), recorder._loop._commit(), recorder._journal.flush()),
    "flush": lambda recorder, model: recorder.flush(),
    "close": lambda recorder, model: recorder.close(),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_completes_a_step_in_which_one_rests(tmp_path: Path, end: str) -> None:
    model = small_model(norm=False)
    body, head = pair(model)
    recorder = Recorder(tmp_path, model, [body, head], DATA)
    announce(recorder, 0)
    backward(model, 0)
    head.step()
    after = parameters(model)
    with torch.no_grad():
        model(INPUTS)  # evaluation is no training
    assert recorder._journal.step == 0 and recorder.step == 1
    ENDS[end](recorder, model)
    assert recorder._journal.step == 1
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 1 and trajectory.phases[0].name == tmp_path.name
    assert trajectory.optimizers(0) == (None, "AdamW")
    assert all(torch.equal(trajectory.state(1).parameters[name], value) for name, value in after.items())
    recorder.close()


def test_the_state_after_a_step_is_that_after_its_optimizers(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model)
    with Recorder(tmp_path, model, [body, head], DATA, states="all") as recorder:
        for t in range(3):
            announce(recorder, t)
            backward(model, t)
            body.step()
            after = parameters(model)
            with torch.no_grad():
                model[0].bias.mul_(0.5)
    trajectory = open_trajectory(tmp_path)
    assert trajectory.checkpoints == (0, 1, 2, 3)
    assert torch.equal(trajectory.state(3).parameters["0.bias"], after["0.bias"])
    assert trajectory.steps["weights_written"].values.tolist()[1:] == [1, 1]


def test_a_second_step_on_one_batch_is_refused(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model)
    with Recorder(tmp_path, model, [body, head], DATA) as recorder:
        announce(recorder, 0)
        backward(model, 0)
        body.step()
        with pytest.raises(AadslError, match=r"step 1 was not announced"):
            body.step()
        with pytest.raises(AadslError, match=r"step 1 was not announced"):
            head.step()
    assert open_trajectory(tmp_path).length == 1


def test_a_parameter_in_two_of_them_is_refused(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, _ = pair(model)
    for other in (torch.optim.Adam(model.parameters()), body):
        with pytest.raises(AadslError, match=r'two of the optimizers train "0\.weight"\nleave it in one of them'):
            Recorder(tmp_path, model, [body, other], DATA)


def test_an_interrupt_between_two_of_them_leaves_nothing_half_done(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model)

    def interrupt(*given: Any) -> None:
        raise KeyboardInterrupt

    with Recorder(tmp_path, model, [body, head], DATA, states="all") as recorder:
        announce(recorder, 0)
        backward(model, 0)
        body.step()
        between = parameters(model)
        announce(recorder, 1)  # the body's step is one of its own
        backward(model, 1)
        body.step()
        hook = head.register_step_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            head.step()
        hook.remove()
        for one in (body, head):  # it is not known what the head's step changed
            announced = pytest.raises(AadslError, match="step 1 was interrupted halfway")
            with announced:
                if one is head:
                    announce(recorder, 2)
                one.step()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 1 and trajectory.checkpoints == (0, 1) and not trajectory.violations()
    assert all(torch.equal(trajectory.state(1).parameters[name], value) for name, value in between.items())


def test_such_a_run_goes_on(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model)

    def steps(recorder: Recorder, numbers: range) -> None:
        for t in numbers:
            announce(recorder, t)
            backward(model, t)
            body.step()
            if t % 3 == 1:
                head.step()

    for numbers in (range(3), range(3, 6)):
        with Recorder(tmp_path, model, [body, head], DATA) as recorder:
            steps(recorder, numbers)
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 6 and [phase.start for phase in trajectory.phases] == [0]
    assert trajectory.steps["resting_groups"].values.tolist() == ["1", "", "1"] * 2
    for others, said in [([head, body], "SGD and AdamW, not AdamW and SGD"), (body, "SGD and AdamW, not SGD")]:
        with pytest.raises(AadslError, match=f"was recorded with {said}"):
            Recorder(tmp_path, model, others, DATA)


def test_one_of_them_alone_may_start_afresh(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model)
    with Recorder(tmp_path, model, [body, head], DATA) as recorder:
        for t in range(4):
            if t == 2:
                head.state.clear()
                recorder.phase("new head")
            announce(recorder, t)
            backward(model, t)
            body.step()
            head.step()
    trajectory = open_trajectory(tmp_path)
    assert [phase.resets_optimizer for phase in trajectory.phases] == [True, False]
    assert trajectory.restarted(2) == (False, True) and trajectory.restarted(0) == (True, True)
    assert trajectory.steps["fresh_groups"].values.tolist() == ["", "", "1", ""]


def test_of_two_models_each_is_recorded_with_its_own(tmp_path: Path) -> None:
    models = [small_model(norm=False) for _ in range(2)]
    recorders = []
    for number, model in enumerate(models):
        optimizer = torch.optim.Adam(model.parameters())
        recorders.append((Recorder(tmp_path / str(number), model, optimizer, DATA), model, optimizer))
    for t in range(4):
        for recorder, model, optimizer in recorders:
            announce(recorder, t)
            backward(model, t)
            optimizer.step()
    for number, (recorder, *_) in enumerate(recorders):
        recorder.close()
        trajectory = open_trajectory(tmp_path / str(number))
        assert trajectory.length == 4 and "resting_groups" not in trajectory.steps


def test_what_is_said_of_groups_is_checked(tmp_path: Path) -> None:
    model = small_model(norm=False)
    body, head = pair(model)
    with Recorder(tmp_path, model, [body, head], DATA) as recorder:
        announce(recorder, 0)
        backward(model, 0)
        head.step()
    rewrite(next(tmp_path.glob("steps-*.nc")), {"resting_groups_labels": lambda texts: np.array(["0 2"], dtype=object)})
    assert any(
        'resting_groups names the group "2", the run has 2' in said for said in open_trajectory(tmp_path).violations()
    )
    rewrite(tmp_path / "run.nc", {"optimizer": "SGD AdamW Adam"})
    with pytest.raises(AadslError, match=r"run\.nc is whole, but not what the schema"):
        open_trajectory(tmp_path)
