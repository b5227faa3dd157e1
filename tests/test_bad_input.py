"""Mistakes that users make: each gets one clear message with the way out, and nothing that was recorded is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from tests.digits import BATCH, STEPS, Recorded, decaying, images_and_labels, loss_fn, momentum_sgd, network, record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def study(run: Recorded) -> aadsl.Study:
    study = run.study()
    study.stage("early", slice(0, 3))
    study.behavior("digits", "log_likelihood", on=some(run))
    return study


def some(run: Recorded, count: int = 20) -> tuple[Tensor, Tensor]:
    return run.data[0][:count], run.data[1][:count]


def complaint(action: Callable[[], Any]) -> str:
    """Return the message of the AadslError that ``action`` raises."""
    with pytest.raises(aadsl.AadslError) as caught:
        action()
    return str(caught.value)


def test_a_folder_without_a_trajectory(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    message = complaint(lambda: aadsl.open_trajectory(tmp_path / "photos"))
    assert "photos holds no trajectory" in message
    assert "does not exist" in complaint(lambda: aadsl.open_trajectory(tmp_path / "nowhere"))
    names = {"net": network(), "loss_fn": loss_fn, "train": images_and_labels()}
    program = f'load "{tmp_path / "photos"}" with model=net, loss=loss_fn, data=train'
    message = complaint(lambda: aadsl.run(program, names))
    assert "holds no trajectory" in message
    assert "^^^" in message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, 10)), ["0.weight", "(32, 784)", "(16, 784)"]),
        (nn.Linear(784, 10), ["no parameter", "0.weight"]),
    ],
    ids=["other sizes", "other names"],
)
def test_a_model_that_is_not_the_recorded_one(run: Recorded, model: nn.Module, words: list[str]) -> None:
    message = complaint(lambda: run.study(model=model))
    assert all(word in message for word in words), message


def test_data_that_are_missing_or_too_few(run: Recorded) -> None:
    assert "give data=" in complaint(lambda: run.study(data=None))
    short = run.study(data=some(run))
    short.stage("early", [0])
    short.behavior("digits", "loss", on=some(run))
    message = complaint(lambda: short.score(["early"], ["digits"]))
    assert "20 examples" in message
    assert "same order" in message


@pytest.mark.parametrize(
    "selection",
    [[], slice(5, 5), np.zeros(STEPS, bool), lambda study: study.steps.lr_0 > 3],
    ids=["list", "slice", "mask", "condition"],
)
def test_an_empty_stage(study: aadsl.Study, selection: Any) -> None:
    chosen = selection(study) if callable(selection) else selection
    assert 'stage "none" holds no step' in complaint(lambda: study.stage("none", chosen))
    assert "none" not in study.stages


def test_a_stage_outside_of_the_run(study: aadsl.Study) -> None:
    assert f"0 to {STEPS - 1}" in complaint(lambda: study.stage("late", [STEPS]))
    assert "7 values" in complaint(lambda: study.stage("mask", np.ones(7, bool)))


def test_unknown_names_with_the_nearest_known_one(study: aadsl.Study) -> None:
    on = (torch.zeros(2, 784), torch.zeros(2, dtype=torch.long))
    cases: dict[str, Callable[[], Any]] = {
        'no stage "erly"\ndid you mean "early"?': lambda: study.score(["erly"], ["digits"]),
        'no behavior "digit"\ndid you mean "digits"?': lambda: study.score(["early"], ["digit"]),
        'no estimator "retrainin"\ndid you mean "retraining"?': lambda: study.score(
            ["early"], ["digits"], estimator="retrainin"
        ),
        'no intervention "skipp"\ndid you mean "skip"?': lambda: study.retrain(
            ["early"], ["digits"], intervention="skipp"
        ),
        'no behavior "log_likelihod"\ndid you mean "log_likelihood"?': lambda: study.behavior(
            "new", "log_likelihod", on=on
        ),
        'did you mean "target"?': lambda: study.behavior("new", "log_likelihood", on=on, traget=3),
        'no coordinate "lable"\ndid you mean "label"?': lambda: study.behavior("new", "margin", on=on, by="lable"),
    }
    for wanted, action in cases.items():
        assert wanted in complaint(action)
    assert "new" not in study.behaviors


def test_several_mistakes_of_a_cell_are_told_at_once(run: Recorded) -> None:
    names = {"study": run.study()}
    message = complaint(lambda: aadsl.run('load study\nstage p = batches where tga=="b"\nscore q on r', names))
    assert 'line 2: no coordinate "tga" on this trajectory' in message
    assert 'did you mean "tag"?' in message
    assert 'line 3: no stage "q"' in message
    assert 'line 3: no behavior "r"' in message


def test_a_behavior_without_a_gradient(run: Recorded, study: aadsl.Study) -> None:
    study.behavior("right", "accuracy", on=some(run))
    study.behavior("detached", lambda model, examples: model(examples[0])[:, 0].detach(), on=some(run))
    for name in ("right", "detached"):
        assert "retraining()" in complaint(lambda name=name: study.score(["early"], [name], estimator="first_order"))
        assert np.isfinite(study.retrain(["early"], [name]).effect).all()


def test_a_behavior_of_the_wrong_shape(run: Recorded, study: aadsl.Study) -> None:
    study.behavior("mean", lambda model, examples: model(examples[0]).mean(), on=some(run))
    assert "one number an example" in complaint(lambda: study.score(["early"], ["mean"]))
    study.behavior("class 12", "log_likelihood", on=some(run), target=12)
    assert "0 to 9" in complaint(lambda: study.score(["early"], ["class 12"]))


def test_examples_that_are_not_finite(run: Recorded, study: aadsl.Study) -> None:
    images, labels = some(run)
    broken = images.clone()
    broken[3] = float("nan")
    study.behavior("broken", "log_likelihood", on=(broken, labels))
    assert "finite" in complaint(lambda: study.score(["early"], ["broken"]))


@pytest.mark.parametrize("told", ["the loss", "nothing"])
def test_a_run_that_leaves_the_finite_numbers(tmp_path: Path, told: str) -> None:
    """The recording ends with a message; the steps before it can be read."""
    images, labels = (part.clone() for part in images_and_labels())
    images[5 * BATCH] = float("nan")
    net = network()
    optimizer = momentum_sgd(net)
    recorder = aadsl.Recorder(tmp_path / "run", net, optimizer, data=(images, labels))

    def loop() -> None:
        with recorder:
            for t in range(STEPS):
                rows = np.arange(t * BATCH, (t + 1) * BATCH)
                optimizer.zero_grad()
                loss = loss_fn(net, (images[rows], labels[rows]))
                loss.backward()
                recorder.batch(indices=rows, **({"loss": loss} if told == "the loss" else {}))
                optimizer.step()

    message = complaint(loop)
    assert "the parameters are not finite" in message
    assert aadsl.open_trajectory(tmp_path / "run").length >= 5


def test_an_exception_in_the_training_loop_leaves_a_readable_trajectory(tmp_path: Path, run: Recorded) -> None:
    net = network()
    optimizer = momentum_sgd(net)

    def loop() -> None:
        with aadsl.Recorder(tmp_path / "run", net, optimizer, data=run.data) as recorder:
            schedule = decaying(optimizer)
            for t in range(STEPS):
                rows = np.arange(t * BATCH, (t + 1) * BATCH)
                if t == 9:
                    raise KeyboardInterrupt
                optimizer.zero_grad()
                loss_fn(net, (run.data[0][rows], run.data[1][rows])).backward()
                recorder.batch(indices=rows)
                optimizer.step()
                schedule.step()

    with pytest.raises(KeyboardInterrupt):
        loop()
    trajectory = aadsl.open_trajectory(tmp_path / "run")
    assert trajectory.length == 9
    shorter = aadsl.Study(trajectory, model=network(), loss=loss_fn, data=run.data, device="cpu")
    shorter.stage("early", slice(0, 3))
    shorter.behavior("digits", "log_likelihood", on=some(run))
    assert np.isfinite(shorter.verify(["early"], ["digits"]).effect).all()


def test_a_step_that_was_not_announced_does_not_happen(tmp_path: Path, run: Recorded) -> None:
    net = network()
    optimizer = momentum_sgd(net)
    with aadsl.Recorder(tmp_path / "run", net, optimizer, data=run.data) as recorder:
        for announced in (True, False):
            before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            optimizer.zero_grad()
            loss_fn(net, some(run)).backward()
            if announced:
                recorder.batch(indices=np.arange(20))
                optimizer.step()
            else:
                assert "step 1 was not announced" in complaint(optimizer.step)
                assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert aadsl.open_trajectory(tmp_path / "run").length == 1


def test_parameters_of_several_precisions(tmp_path: Path) -> None:
    """Propagation holds them in one vector, which would round the finer ones without a word."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def mixed_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model[1](model[0](batch[0]).double()), batch[1])

    data = (torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))
    with aadsl.Recorder(tmp_path, model, optimizer, data=data) as recorder:
        mixed_loss(model, data).backward()
        recorder.batch(indices=range(4))
        optimizer.step()
    trajectory = aadsl.open_trajectory(tmp_path)
    message = complaint(lambda: aadsl.Study(trajectory, model=model, loss=mixed_loss, data=data, device="cpu"))
    assert '"0.bias" is float32, "1.bias" is float64' in message and "autocast" in message


def test_a_run_whose_states_are_gone_is_refused_in_words(tmp_path: Path) -> None:
    run = record(tmp_path / "run")
    for state in (tmp_path / "run").glob("state-*.nc"):
        state.unlink()
    with pytest.raises(aadsl.AadslError, match=r"no state of .*run is there(.|\n)*restore the files"):
        run.study()
