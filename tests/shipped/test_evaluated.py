"""Answers about a run whose optimizer evaluates other weights than it trains are about those that are evaluated."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.dynamics import equal_but_for_swaps
from tests.engine.own_optimizers import ScheduleFree
from tests.shipped import runs
from tests.shipped.runs import DATA, LENGTH, SIZE, fits, network

EPOCH, STAGES = 6, {"early": range(2, 6), "middle": range(8, 14), "late": range(20, 23)}
Weights = dict[str, dict[str, Tensor]]

pytestmark = pytest.mark.filterwarnings("ignore:of a run with ScheduleFree")


def train(
    path: Path | None = None, without: Collection[int] = (), *, closed: str = "eval", length: int = LENGTH
) -> Weights:
    """Train as the documentation of such optimizers says, with a look at the validation data after each epoch.

    Returns the weights that are evaluated after each epoch, and those of training at the end, by name.
    """
    model = network()
    optimizer = ScheduleFree(model.parameters(), lr=0.3)
    recorder = aadsl.Recorder(path, model, optimizer, data=DATA, states=5) if path else None
    kept: Weights = {}
    for t in range(length):
        optimizer.train()
        if t not in without:
            if recorder:
                recorder.batch(indices=np.arange(t * SIZE, (t + 1) * SIZE))
            runs.step(model, optimizer, t)
        if (t + 1) % EPOCH == 0:
            kept["trained"] = copy.deepcopy(model.state_dict())
            if recorder and closed == "train" and t + 1 == length:
                recorder.close()
            optimizer.eval()
            fits(model)
            if recorder and t + 1 == 2 * EPOCH:
                recorder.flush(state=True)
            kept[f"{t + 1}"] = copy.deepcopy(model.state_dict())
    if recorder:
        recorder.close()
    assert not any(group["training"] for group in optimizer.param_groups)
    return kept


def model_of(weights: dict[str, Tensor]) -> nn.Module:
    model = network()
    model.load_state_dict(weights)
    return model


def study_of(path: Path, **options: Any) -> aadsl.Study:
    return runs.study_of(path, **{"optimizer": lambda params: ScheduleFree(params, lr=0.3)} | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module", params=["eval", "train"])
def run(folder: Path, request: pytest.FixtureRequest) -> tuple[Path, Weights]:
    """Return a run whose recorder was closed while the weights were those of evaluation, or of training."""
    return folder / request.param, train(folder / request.param, closed=request.param)


def require_answers(study: aadsl.Study, of: str, length: int = LENGTH) -> Any:
    """Return the answer, after it was compared with plain loops."""
    answer = study.score([*STAGES], ["fits"])
    observed = fits(model_of(train(length=length)[of]))
    assert answer.exact.all() and (answer.trust == "high").all()
    assert answer.observed.item() == pytest.approx(observed, abs=1e-12)
    for stage, steps in STAGES.items():
        if steps.stop <= length:
            truth = observed - fits(model_of(train(without=steps, length=length)[of]))
            assert answer.effect.sel(stage=stage).item() == pytest.approx(truth, abs=1e-12)
            assert abs(truth) > 1e-5
    return answer


def test_recording_changes_no_bit_of_the_training_nor_says_it_cannot_be_answered(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recorded = train(tmp_path)
    assert "exact answers can be had" in str(caught[0].message) and len(caught) == 1
    plain = train()
    assert all(torch.equal(value, plain[at][name]) for at, own in recorded.items() for name, value in own.items())


@pytest.mark.parametrize("given", ["fresh", "evaluated"])
def test_the_weights_that_are_evaluated_are_asked_about(run: tuple[Path, Weights], given: str) -> None:
    path, kept = run
    study = study_of(path, model=network() if given == "fresh" else model_of(kept[f"{LENGTH}"]))
    assert study.verify_trajectory(samples=20).ok
    assert study.notes == ("answers are about the model with the weights that optimizer.eval() sets",)
    answer = require_answers(study, f"{LENGTH}")
    assert "of the model with the weights that optimizer.eval() sets differ" in answer.question
    clean = dict(study.counterfactual("middle").named_parameters())
    for name, value in train(without=STAGES["middle"])[f"{LENGTH}"].items():
        assert name not in clean or torch.allclose(clean[name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", ["given", "words"])
def test_those_of_training_can_be_asked_about(run: tuple[Path, Weights], way: str) -> None:
    path, kept = run
    here = {"given": {"model": model_of(kept["trained"]), "final": "given"}, "words": {"final": "trained"}}[way]
    if way == "given":
        (note,) = study_of(path, model=here["model"]).notes[1:]
        assert "those of training, before optimizer.eval()" in note and "final='trained'" in note
    study = study_of(path, **here)
    assert study.history.of_model == "the model with the weights of training, before optimizer.eval()"
    require_answers(study, "trained")


@pytest.mark.parametrize("step", [2 * EPOCH, 3 * EPOCH])
@pytest.mark.parametrize("way", ["number", "given"])
def test_best_weights_are_those_that_were_evaluated(run: tuple[Path, Weights], step: int, way: str) -> None:
    path, kept = run
    best = model_of(kept[f"{step}"])
    study = study_of(path, model=best, final=step if way == "number" else "given")
    assert study.history.end == step
    require_answers(study, f"{step}", step)


def test_means_of_such_weights_are_refused(run: tuple[Path, Weights]) -> None:
    with pytest.raises(aadsl.AadslError, match=r"optimizer.eval\(\) sets cannot be followed\n.*final=STEP"):
        study_of(run[0], final=[12, 18])


def test_of_any_other_optimizer_those_of_training_are_the_end(tmp_path: Path) -> None:
    runs.recorded(tmp_path)
    assert runs.study_of(tmp_path, final="trained").notes == ()


def test_weights_without_elements_are_the_same() -> None:
    nothing, ones = torch.zeros(0, 3), torch.ones(3)
    assert equal_but_for_swaps(nothing, nothing) and equal_but_for_swaps(ones, ones * (1 + 2**-22))
    assert not equal_but_for_swaps(ones, ones * (1 + 2**-16)) and not equal_but_for_swaps(ones, ones * torch.nan)
    assert not equal_but_for_swaps(torch.tensor([1]), torch.tensor([2]))
