"""Answers about an average of the weights are those of a plain loop that kept the same average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import swa_utils

import aadsl
from aadsl.estimators import Blocks, FirstOrder, Linearized
from aadsl.interventions import Reweight
from aadsl.propagation import Average, Averaging, Exact, FlatState, inner, taken_in
from aadsl.propagation.averaging import pulled, pushed
from aadsl.replayed.parcels import pickled, unpickled
from aadsl.replayed.run_spec import RunSpec
from tests.shipped import runs
from tests.shipped.runs import DATA, LENGTH, SIZE, adam, fits, loss, network, recorded, step, study_of

EPOCH = 6  # steps
STAGES = {"early": range(2, 6), "middle": range(8, 14), "late": range(20, 23)}
Take = Callable[[int, nn.Module], None]
"""What a loop does with its average after step t."""


def averaged_model(**options: Any) -> Callable[[nn.Module], tuple[Any, Take]]:
    def make(model: nn.Module) -> tuple[Any, Take]:
        average = swa_utils.AveragedModel(model, **options)
        return average, lambda t, model: average.update_parameters(model)

    return make


def by_epoch(model: nn.Module) -> tuple[Any, Take]:
    """SWA as it is taught: after each epoch from the second on."""
    average = swa_utils.AveragedModel(model)

    def take(t: int, model: nn.Module) -> None:
        if (t + 1) % EPOCH == 0 and t >= EPOCH:
            average.update_parameters(model)

    return average, take


def own_module(model: nn.Module) -> tuple[Any, Take]:
    """EMA by a copy of the model, buffers copied, warmed up."""
    average = copy.deepcopy(model)

    @torch.no_grad()
    def take(t: int, model: nn.Module) -> None:
        decay = min(0.9, (1 + t) / (10 + t))
        for own, new in zip(average.parameters(), model.parameters(), strict=True):
            own.data.mul_(decay).add_(new.data, alpha=1 - decay)
        for own, new in zip(average.buffers(), model.buffers(), strict=True):
            own.copy_(new)

    return average, take


class Wrapper(nn.Module):
    """As libraries have them: the average is a module inside, with all that a state dict holds averaged."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for own, new in zip(self.module.state_dict().values(), model.state_dict().values(), strict=True):
            own.copy_(0.8 * own + 0.2 * new)


def wrapper(model: nn.Module) -> tuple[Any, Take]:
    average = Wrapper(model)
    return average, lambda t, model: average.update(model)


def shadow(model: nn.Module) -> tuple[Any, Take]:
    """A dict whose tensors are made anew each time, from the tenth step on."""
    average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def take(t: int, model: nn.Module) -> None:
        if t >= 10:
            for name, parameter in model.named_parameters():
                average[name] = (0.3 * parameter.detach() + 0.7 * average[name]).clone()

    return average, take


AVERAGES = {
    "ema": averaged_model(multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9)),
    "ema, single": averaged_model(avg_fn=swa_utils.get_ema_avg_fn(0.9), use_buffers=True),
    "mean": averaged_model(),
    "mean, foreach": averaged_model(multi_avg_fn=swa_utils.get_swa_multi_avg_fn()),
    "by epoch": by_epoch,
    "own module": own_module,
    "wrapper": wrapper,
    "shadow": shadow,
}
SNAPSHOTS = {"by epoch"}


def as_model(average: Any, model: nn.Module) -> nn.Module:
    """Return a plain model with the averaged weights."""
    if isinstance(average, dict):
        other = copy.deepcopy(model)
        other.load_state_dict(average, strict=False)
        return other
    return average.module if hasattr(average, "module") else average


def by_hand(kind: str, without: Collection[int] = ()) -> nn.Module:
    """Train a plain loop without some of its steps, and return the model with the averaged weights."""
    model = network()
    optimizer = adam(model)
    average, take = AVERAGES[kind](model)
    for t in range(LENGTH):
        if t not in without:
            step(model, optimizer, t)
        if t not in without or kind in SNAPSHOTS:
            take(t, model)
    return as_model(average, model)


def record(folder: Path, kind: str, **options: Any) -> nn.Module:
    model = network()
    optimizer = adam(model)
    average, take = AVERAGES[kind](model)
    with aadsl.Recorder(folder, model, optimizer, DATA, averaged=average, **options) as recorder:
        for t in range(LENGTH):
            recorder.batch(indices=np.arange(t * SIZE, (t + 1) * SIZE))
            step(model, optimizer, t)
            take(t, model)
            if (t + 1) % EPOCH == 0:
                fits(model)  # a validation
    return as_model(average, model)


@pytest.fixture(scope="module", params=AVERAGES)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, nn.Module]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return request.param, folder, record(folder, request.param, states=5)


def test_an_exact_answer_is_that_of_a_plain_loop(kept: tuple[str, Path, nn.Module]) -> None:
    kind, folder, shipped = kept
    study = study_of(folder, final="averaged")
    report = study.verify_trajectory()
    assert report.ok, report
    answer = study.retrain([*STAGES], ["fits", "each"])
    assert (answer.trust == "high").all(), answer.trust_reason.values
    observed = answer.observed.sel(behavior="fits").item()
    assert observed == pytest.approx(fits(shipped), abs=1e-9)
    for stage, steps in STAGES.items():
        truth = fits(by_hand(kind)) - fits(by_hand(kind, without=steps))
        assert answer.effect.sel(stage=stage, behavior="fits").item() == pytest.approx(truth, abs=1e-8), stage
    without = study.counterfactual("middle").state_dict()
    for name, value in by_hand(kind, without=STAGES["middle"]).state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(without[name], value, atol=1e-8), name


def test_the_average_that_was_given_is_told_and_found(kept: tuple[str, Path, nn.Module]) -> None:
    _, folder, shipped = kept
    (note,) = study_of(folder, model=shipped).notes
    assert "are the average that the loop kept" in note and 'say final="averaged"' in note
    for options in ({"final": "given", "model": shipped}, {"final": shipped.state_dict()}):
        assert study_of(folder, **options).notes == ("answers are about the average of the weights that the loop kept",)


ESTIMATORS = (FirstOrder(curvature=Exact()), Blocks(read="linear", curvature=Exact()), Linearized("linear", Exact()))


@pytest.mark.parametrize("kept", ["mean", "by epoch"], indirect=True)
def test_estimates_have_the_derivative_of_the_average(kept: tuple[str, Path, nn.Module]) -> None:
    study = study_of(kept[1], final="averaged")
    slightly = Reweight(weight=1 + 1e-5)
    asked = ["early", "late"], ["fits", "each"]
    truth = study.retrain(*asked, intervention=slightly)
    for estimator in ESTIMATORS:
        estimate = study.score(*asked, estimator=estimator, intervention=slightly)
        for name in ("effect", "example_effect"):
            off = np.nanmax(np.abs(estimate[name].values - truth[name].values))
            assert off < 2e-3 * np.nanmax(np.abs(truth[name].values)), (estimator, name)


@pytest.mark.parametrize("final", ["averaged", 12])
def test_single_examples_are_scored_on_the_model_that_was_shipped(tmp_path: Path, final: Any) -> None:
    record(tmp_path / "run", "ema", states=5)
    study = study_of(tmp_path / "run", final=final)
    found = study.examples(["early"], ["fits"], top=4, self_influence=True)
    estimate, exact = (found[name].values.ravel() for name in ("example_estimate", "example_exact"))
    known = np.isfinite(exact)
    assert known.sum() >= 4 and np.corrcoef(estimate[known], exact[known])[0, 1] > 0.95
    assert np.linalg.norm(estimate[known] - exact[known]) < 0.4 * np.linalg.norm(exact[known])
    if final != "averaged":
        with pytest.raises(aadsl.AadslError, match='no step of "late" came before the model after 12'):
            study.examples(["late"], ["fits"])


@pytest.mark.parametrize("buffers", ["averaged", "copied", "left"])
@pytest.mark.parametrize("counted", [False, True])
def test_the_derivative_of_taking_in_is_that_of_differences(buffers: Any, counted: bool) -> None:
    generator = torch.Generator().manual_seed(1)

    def state() -> FlatState:
        parts = [torch.randn(size, generator=generator, dtype=torch.float64) for size in (5, 3, 5, 3)]
        return FlatState(parts[0], (), parts[1], (), Average(parts[2], parts[3], parts[0].new_tensor(4.0)))

    averaging = Averaging(0.2, buffers, counted=counted)
    at, e, u = state(), state(), state()
    assert at.average is not None and e.average is not None

    def moved(size: float) -> FlatState:
        other = at.with_tensors(a + size * b for a, b in zip(at.tensors(), e.tensors(), strict=True))
        assert other.average is not None
        return taken_in(other, other.average, averaging)

    ends = zip(moved(1e-4).tensors(), moved(-1e-4).tensors(), strict=True)
    along = pushed(e.bare, e.average, at, at.average, averaging)
    for (one, other), derivative in zip(ends, along.tensors(), strict=True):
        assert torch.allclose((one - other) / 2e-4, derivative, atol=1e-6)
    assert inner(u, along).item() == pytest.approx(inner(pulled(u, at, at.average, averaging), e).item(), rel=1e-12)


def test_the_mean_of_some_steps_is_asked_for_by_their_numbers(tmp_path: Path) -> None:
    steps = (11, 15, 20)
    recorded(tmp_path / "run", states=5)

    def mean_by_hand(without: Collection[int] = ()) -> nn.Module:
        models = [runs.by_hand(k, without) for k in steps]
        for name, tensor in models[0].state_dict().items():
            tensor.copy_(torch.stack([model.state_dict()[name].double() for model in models]).mean(dim=0))
        return models[0]

    study = study_of(tmp_path / "run", final=[15, 11, 20])
    assert study.verify_trajectory().ok
    assert study.notes == ("answers are about the mean of the models after 11, 15 and 20 steps",)
    answer = study.retrain([*STAGES], ["fits"])
    for stage, without in STAGES.items():
        truth = fits(mean_by_hand()) - fits(mean_by_hand(without))
        assert answer.effect.sel(stage=stage).item() == pytest.approx(truth, abs=1e-12)
    assert answer.trust.values.tolist() == [["high"]] * 3 and not answer.effect.sel(stage="late").any()
    slightly = Reweight(weight=1 + 1e-5)
    truth, *estimates = (
        study.score(["early", "middle"], ["fits"], estimator=estimator, intervention=slightly)
        for estimator in ("retraining", *ESTIMATORS)
    )
    for estimate in estimates:
        assert estimate.effect.values == pytest.approx(truth.effect.values, rel=2e-3)


def test_a_slow_average_in_single_precision_is_measured_well_enough(tmp_path: Path) -> None:
    model = network().float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    average = copy.deepcopy(model)
    data = DATA[0].float(), DATA[1]
    with aadsl.Recorder(tmp_path / "run", model, optimizer, data, averaged=average) as recorder:
        for t in range(LENGTH):
            recorder.batch(indices=np.arange(t * SIZE, (t + 1) * SIZE))
            optimizer.zero_grad()
            loss(model.train(), (data[0][t * SIZE : (t + 1) * SIZE], data[1][t * SIZE : (t + 1) * SIZE])).backward()
            optimizer.step()
            with torch.no_grad():
                for own, new in zip(average.parameters(), model.parameters(), strict=True):
                    own.mul_(0.999).add_(new, alpha=0.001)
    study = study_of(tmp_path / "run", model=network().float(), data=data, final="averaged")
    report = study.verify_trajectory(samples=50)
    assert report.ok, report
    without = study.counterfactual("middle")
    assert (
        sum(
            float((a - b).detach().abs().sum()) for a, b in zip(without.parameters(), average.parameters(), strict=True)
        )
        > 0
    )


def test_an_average_that_something_else_writes_to_is_told(tmp_path: Path) -> None:
    model = network()
    optimizer = adam(model)
    average, take = AVERAGES["ema"](model)
    with aadsl.Recorder(tmp_path / "run", model, optimizer, DATA, averaged=average, states=5) as recorder:
        for t in range(LENGTH):
            recorder.batch(indices=np.arange(t * SIZE, (t + 1) * SIZE))
            step(model, optimizer, t)
            take(t, model)
            if t == 12:
                with torch.no_grad():
                    average.module[0].weight.mul_(0.9)
    report = study_of(tmp_path / "run", final="averaged").verify_trajectory(samples=50)
    assert not report.ok and report.causes == ("other average",) and "wrote to it" in report.failure
    assert study_of(tmp_path / "run").verify_trajectory(samples=50).ok


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda model: 0.99, "averaged must be an average of the model's weights, not 0.99"),
        (lambda model: model, "averaged is the model itself"),
        (lambda model: {"0.weight": torch.zeros(3)}, 'averaged has no "0.weight" of the shape'),
        (lambda model: nn.Linear(2, 2), 'averaged has no "0.weight" of the shape'),
        (
            lambda model: swa_utils.AveragedModel(model, avg_fn=lambda old, new, n: torch.maximum(old, new)),
            "makes no weighted mean",
        ),
    ],
)
def test_what_is_no_average_is_refused_before_the_training(tmp_path: Path, given: Any, message: str) -> None:
    model = network()
    with pytest.raises(aadsl.AadslError, match=message):
        aadsl.Recorder(tmp_path / "run", model, adam(model), DATA, averaged=given(model))


def test_an_average_that_was_not_recorded_is_refused(tmp_path: Path) -> None:
    recorded(tmp_path / "run")
    with pytest.raises(aadsl.AadslError, match=r"followed no average(.|\n)*averaged=ema_model"):
        study_of(tmp_path / "run", final="averaged")
    chain = aadsl.open_trajectory([tmp_path / "run", tmp_path / "run"])
    with pytest.raises(aadsl.AadslError, match=r"no average of the weights in the last of the runs"):
        aadsl.Study(chain, model=network(), loss=loss, data=DATA, device="cpu", final="averaged")


@pytest.mark.parametrize("killed", [False, True])
def test_recording_goes_on_with_the_average(tmp_path: Path, killed: bool) -> None:
    kept: dict[str, Any] = {}
    for first in (0, 13):
        model = network()
        optimizer = adam(model)
        average, take = AVERAGES["ema"](model)
        for name, part in kept.items():
            {"model": model, "optimizer": optimizer, "average": average}[name].load_state_dict(part)
        recorder = aadsl.Recorder(tmp_path / "run", model, optimizer, DATA, averaged=average, states=1)
        for t in range(first, LENGTH if first else 13):
            recorder.batch(indices=np.arange(t * SIZE, (t + 1) * SIZE))
            step(model, optimizer, t)
            take(t, model)
        kept = copy.deepcopy(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state_dict()}
        )
        if killed and not first:
            recorder.flush()
            recorder.leave_to_parent()  # it closes nothing
            recorder._setting.let_go()
        else:
            recorder.close()
    study = study_of(tmp_path / "run", final="averaged")
    report = study.verify_trajectory(samples=50)
    assert report.ok, report
    assert study.retrain(["early"], ["fits"]).effect.item() == pytest.approx(
        fits(by_hand("ema")) - fits(by_hand("ema", without=STAGES["early"])), abs=1e-9
    )
    model = network()
    with pytest.raises(aadsl.AadslError, match="recorded with other averaged="):
        aadsl.Recorder(tmp_path / "run", model, adam(model), DATA, step=13)


def chained(kind: str, folder: Path | None, without: Collection[int] = (), goes_on: bool = False) -> nn.Module:
    """Train two jobs, the second with an optimizer of its own, and an average that it begins, or goes on with."""
    model, half = network(), LENGTH // 2
    average, take = AVERAGES[kind](model)
    for job in (0, 1):
        optimizer = adam(model)
        if job and not goes_on:
            average, take = AVERAGES[kind](model)
        followed = {"averaged": average} if job or goes_on else {}
        path = None if folder is None else folder / str(job)
        recorder = None if path is None else aadsl.Recorder(path, model, optimizer, DATA, states=5, **followed)
        for t in range(job * half, (job + 1) * half):
            if recorder is not None:
                recorder.batch(indices=np.arange(t * SIZE, (t + 1) * SIZE))
            if t not in without:
                step(model, optimizer, t)
            if (job or goes_on) and (t not in without or kind in SNAPSHOTS):
                take(t, model)
        if recorder is not None:
            recorder.close()
    return as_model(average, model)


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("kind", ["ema", "by epoch"])
def test_of_a_chain_the_average_of_its_last_run_is_asked_about(kind: str, goes_on: bool, tmp_path: Path) -> None:
    shipped = chained(kind, tmp_path, goes_on=goes_on)
    chain = aadsl.open_trajectory([tmp_path / "0", tmp_path / "1"])
    study = aadsl.Study(chain, model=shipped, loss=loss, data=DATA, device="cpu", final="given")
    assert study.notes == ("answers are about the average of the weights that the loop kept",)
    report = study.verify_trajectory(samples=20)
    assert report.ok, report
    study.behavior("fits", "log_likelihood", on=runs.HELD_OUT)
    for name, steps in {"first": range(2, 6), "at its end": [10, 11], "second": range(13, 17)}.items():
        study.stage(name, list(steps))
        truth = fits(shipped) - fits(chained(kind, None, steps, goes_on))
        answer = study.retrain([name], ["fits"])
        assert answer.effect.item() == pytest.approx(truth, abs=1e-8), name
        assert answer.trust.item() == "high", answer.trust_reason.item()
    slightly = Reweight(weight=1 + 1e-5)
    truth, estimate = (
        study.score(["first", "second"], ["fits"], estimator=estimator, intervention=slightly).effect.values
        for estimator in ("retraining", ESTIMATORS[0])
    )
    assert estimate == pytest.approx(truth, rel=2e-3)


def test_an_average_that_comes_from_elsewhere_is_refused_of_a_chain(tmp_path: Path) -> None:
    recorded(tmp_path / "0")
    model = network()
    model.load_state_dict(aadsl.open_trajectory(tmp_path / "0").state(LENGTH).parameters, strict=False)
    average, _ = AVERAGES["ema"](network())
    aadsl.Recorder(tmp_path / "1", model, adam(model), DATA, averaged=average).close()
    chain = aadsl.open_trajectory([tmp_path / "0", tmp_path / "1"])
    with pytest.raises(aadsl.AadslError, match=r"began neither as its model was(.|\n)*open the run alone"):
        aadsl.Study(chain, model=network(), loss=loss, data=DATA, device="cpu", final="averaged")


def recalibrated(model: nn.Module) -> None:
    swa_utils.update_bn(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*DATA), 48), model)


def test_what_is_done_to_the_average_after_training_is_done_to_every_other(tmp_path: Path) -> None:
    shipped = record(tmp_path / "run", "by epoch", states=5)
    recalibrated(shipped)
    study = study_of(tmp_path / "run", final="averaged", finish=recalibrated)
    answer = study.score([*STAGES], ["fits"])
    assert answer.observed.item() == pytest.approx(fits(shipped), abs=1e-12)
    for stage, steps in STAGES.items():
        other = by_hand("by epoch", without=steps)
        recalibrated(other)
        assert answer.effect.sel(stage=stage).item() == pytest.approx(fits(shipped) - fits(other), abs=1e-12)
    without = by_hand("by epoch", without=STAGES["late"])
    assert answer.effect.sel(stage="late").item() != pytest.approx(fits(shipped) - fits(without), abs=1e-6)
    for ask in (
        lambda: study.score(["early"], ["fits"], estimator="first_order"),
        lambda: study.score(["middle"], ["fits"], intervention="restart", within=0.001),
        lambda: study.examples(["early"], ["fits"]),
    ):
        with pytest.raises(aadsl.AadslError, match=r"what is done to the model after training, finish=…, has no deriv"):
            ask()


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        (lambda model: model.nothing, "finish fails: AttributeError"),
        (lambda model: model[1].num_batches_tracked.fill_(7) and model.register_buffer("other", torch.ones(2)), None),
    ],
)
def test_a_finish_that_fails_says_so(tmp_path: Path, finish: Any, message: str | None) -> None:
    recorded(tmp_path / "run")
    study = study_of(tmp_path / "run", finish=finish)
    if message is None:
        assert study.retrain(["early"], ["fits"]).exact.all()
        return
    with pytest.raises(aadsl.AadslError, match=message):
        study.retrain(["early"], ["fits"])


@pytest.mark.parametrize("final", ["averaged", 12, (8, 12), None])
def test_workers_know_which_model_is_asked_about(tmp_path: Path, final: Any) -> None:
    record(tmp_path / "run", "ema", states=5)
    finish = recalibrated if final == 12 else None
    spec = RunSpec(aadsl.open_trajectory(tmp_path / "run"), network(), loss, DATA, "cpu", final=final, finish=finish)
    here, there = spec.history(), unpickled(pickled(spec), "").history()
    assert here.of_model == there.of_model and bool(here.of_model) is (final is not None)
    assert torch.equal(here.final.parameters, there.final.parameters)
    assert torch.equal(here.final.buffers, there.final.buffers)
