"""Answers about a model from the middle of a run are those of a run that ended there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from tests.shipped.runs import DATA, HELD_OUT, LENGTH, by_hand, fits, loss, network, recorded, study_of

STORED, BETWEEN = 12, 11  # steps that were shipped: one whose state is stored, and one between those
STAGES = {"early": range(2, 6), "middle": range(8, 14), "late": range(20, 23)}

Weights = dict[int, dict[str, Tensor]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture(scope="module")
def weights(folder: Path) -> Weights:
    return recorded(folder, states=4)


def with_weights(state: dict[str, Tensor]) -> nn.Module:
    model = network()
    model.load_state_dict(state)
    return model


def ways(step: int, weights: Weights) -> dict[str, dict[str, Any]]:
    state = weights[step]
    return {
        "number": {"final": step},
        "array": {"final": np.int64(step)},
        "state dict": {"final": state},
        "of a wrapped model": {"final": {f"_orig_mod.module.{name}": value for name, value in state.items()}},
        "model": {"final": with_weights(state)},
        "given": {"final": "given", "model": with_weights(state)},
    }


@pytest.mark.parametrize(
    ("step", "way"),
    [*((STORED, way) for way in ways(0, {0: network().state_dict()})), (BETWEEN, "number"), (BETWEEN, "given")],
)
def test_an_exact_answer_is_that_of_a_plain_loop_that_ended_there(
    folder: Path, weights: Weights, step: int, way: str
) -> None:
    study = study_of(folder, **ways(step, weights)[way])
    answer = study.score([*STAGES], ["fits", "each"])
    assert answer.exact.all() and (answer.trust == "high").all()
    observed = fits(by_hand(step))
    assert answer.observed.sel(behavior="fits").item() == pytest.approx(observed, abs=1e-12)
    for stage, steps in STAGES.items():
        truth = observed - fits(by_hand(step, without=steps))
        assert answer.effect.sel(stage=stage, behavior="fits").item() == pytest.approx(truth, abs=1e-12)
        assert answer.member.sel(stage=stage).values.nonzero()[0].tolist() == list(steps)
    each = answer.example_effect.sel(behavior="each")
    assert not each.sel(stage="late").any() and each.sel(stage="early").all()
    assert "came after the model" in answer.trust_reason.sel(stage="late", behavior="fits").item()
    assert answer.attrs["final"] == f"the model after {step} of its steps" and answer.attrs["final"] in answer.question
    assert study.notes == (f"answers are about {answer.attrs['final']}",)


def test_answers_about_several_models_of_a_run_are_kept_apart(folder: Path) -> None:
    found = [study_of(folder, final=step).retrain(["early"], ["fits"]) for step in (STORED, None, BETWEEN, LENGTH)]
    effects = [float(answer.effect.item()) for answer in found]
    assert effects[1] == effects[3] and len(set(effects)) == 3
    assert "final" not in found[1].attrs and "final" not in found[3].attrs


@pytest.mark.parametrize("estimator", ["first_order", "blocks", "linearized", "tracin"])
def test_estimates_are_those_of_a_run_that_was_recorded_up_to_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    study = study_of(folder, final=STORED)
    estimated = study.score(["early", "late"], ["fits", "each"], estimator=estimator)
    monkeypatch.setattr("tests.shipped.runs.LENGTH", STORED)
    recorded(tmp_path / "short")
    short = aadsl.Study(aadsl.open_trajectory(tmp_path / "short"), model=network(), loss=loss, data=DATA, device="cpu")
    short.stage("early", slice(2, 6))
    short.behavior("fits", "log_likelihood", on=HELD_OUT)
    expected = short.score(["early"], ["fits"], estimator=estimator)
    assert estimated.effect.values[0, 0] == pytest.approx(expected.effect.item(), rel=1e-6)
    assert not estimated.effect.sel(stage="late").any() and estimated.exact.sel(stage="late").all()
    if estimator == "first_order":
        steps = study.step_effects(["fits"])
        assert steps.sizes["step"] == LENGTH and not steps[STORED:].any()
        assert steps.values[:STORED] == pytest.approx(short.step_effects(["fits"]).values, rel=1e-6)


def test_ranks_shares_checks_and_models_are_about_it(folder: Path, tmp_path: Path) -> None:
    study = study_of(folder, final=STORED)
    ranking = study.rank(["fits"], top=3)
    assert (ranking.ranked < STORED).all() and ranking.ranked_exact.all()
    first = int(ranking.ranked.values[0, 0])
    assert ranking.ranked_effect.values[0, 0] == pytest.approx(
        fits(by_hand(STORED)) - fits(by_hand(STORED, without=[first])), abs=1e-12
    )
    shares = study.shares(["early", "middle", "late"], ["fits"])
    assert shares.share.sel(stage="late").item() == 0
    assert shares.share.sum().item() == pytest.approx(
        fits(by_hand(STORED)) - fits(by_hand(STORED, without={*STAGES["early"], *STAGES["middle"]})), abs=1e-12
    )
    assert max(study.check(["fits"], samples=4).attrs["steps"]) < STORED
    study.save_counterfactual(tmp_path / "without.safetensors", ["middle"])
    truth = by_hand(STORED, without=STAGES["middle"])
    for name, value in study.counterfactual("middle").state_dict().items():
        assert torch.allclose(value, truth.state_dict()[name], atol=1e-12)
    for name, value in study.counterfactual("late").state_dict().items():
        assert torch.allclose(value, by_hand(STORED).state_dict()[name], atol=1e-12)
    assert study.error_bound(["early", "late"]).factor.values[1] == 0
    assert study.exact_seconds(["late"], ["fits"]) == 0
    assert "came after the model" in str(study.plan(["late"], ["fits"]))
    assert study.score(["late"], ["fits"], estimator="first_order").effect.item() == 0


def test_in_a_cell_the_model_is_named_where_the_run_is_taken_up(folder: Path, weights: Weights) -> None:
    names = {"net": with_weights(weights[STORED]), "loss_fn": loss, "train": DATA, "held_out": HELD_OUT}
    load = f'load "{folder}" with model=net, loss=loss_fn, data=train, device="cpu"'
    (note,) = aadsl.run(load, names).messages[1:]
    assert f"are those of step {STORED}: best weights were loaded at the end" in note
    assert f"say final={STORED}" in note
    program = "\nstage early = steps[2:6]\nbehavior fits = log_likelihood on held_out\nscore early on fits"
    for final in (STORED, '"given"', "net"):
        result = aadsl.run(f"{load}, final={final}{program}", names)
        assert result.messages[1] == f"note: answers are about the model after {STORED} of its steps"
        assert result.dataset.effect.item() == pytest.approx(
            fits(by_hand(STORED)) - fits(by_hand(STORED, without=STAGES["early"])), abs=1e-12
        )
    with pytest.raises(aadsl.AadslError, match=r"final=25 is no step of this run"):
        aadsl.run(f"{load}, final=25", names)


@pytest.mark.parametrize(
    ("final", "message"),
    [
        (0, r"final=0 is no step of this run, which has 24"),
        (LENGTH + 1, r"final=25 is no step"),
        (True, r"final must be a number of steps, or several, a state dict, (.|\n)*, not True"),
        ("best", r"final must be (.|\n)*the text 'best'"),
        ({}, r'final: the weights have no "0.weight", which the run trained'),
        (
            {name: value[:1] for name, value in network().state_dict().items() if value.dim()},
            r"final: \"0.weight\" has shape",
        ),
        (network().state_dict(), r"final: these are the weights that the run began with"),
        ({name: value + 1 for name, value in network().state_dict().items()}, r"final: these weights are of no step"),
    ],
)
def test_what_is_no_model_of_the_run_is_refused(folder: Path, weights: Weights, final: Any, message: str) -> None:
    with pytest.raises(aadsl.AadslError, match=message):
        study_of(folder, final=final)
