"""Where one curvature leaves the finite numbers another one answers, the same one after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.core.members import describe
from aadsl.estimators import Blocks, FirstOrder, Linearized
from aadsl.estimators.defaults import candidates_for, default_curvature, finite_sweep
from aadsl.propagation import CURVATURES, CentralDifference, NotFiniteError
from aadsl.replayed.execution import Execution
from tests.engine.test_checkpoints import interrupt, progress_ending
from tests.engine.tiny_studies import answer, recorded

EXACT = CURVATURES["exact"]()


class Root(nn.Module):
    """|x|^1.5: its slope at zero is zero, its second derivative there no number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs() ** 1.5


def sharp_study(folder: Path) -> aadsl.Study:
    """Return a study of a run whose exact second derivatives are no numbers at its first steps: inputs are blank."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4, bias=False), Root(), nn.Linear(4, 3)).double()
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs[:10:4] = 0.0
    study = recorded(folder, "Adam", model, inputs)
    study.behavior("likelihood", "log_likelihood", on=(inputs[10:16], torch.tensor([0, 1, 2, 0, 1, 2])))
    return study


@pytest.mark.parametrize(
    ("optimizer", "layers", "expected"),
    [
        ("SGD", [nn.Tanh()], EXACT),
        ("SGD", [nn.ReLU()], CentralDifference(1.0)),
        ("SGD", [nn.BatchNorm1d(4), nn.Tanh()], EXACT),
        ("SGD", [nn.BatchNorm1d(4), nn.ReLU()], CentralDifference(3.0)),
        ("Adam", [nn.Tanh()], EXACT),
        ("Adam", [nn.BatchNorm1d(4), nn.ReLU()], EXACT),
    ],
)
def test_the_default_is_chosen_for_optimizer_and_network(tmp_path: Path, optimizer: str, layers, expected) -> None:
    model = nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 3)).double()
    history = recorded(tmp_path / "run", optimizer, model).history
    assert default_curvature(history) == candidates_for(history, None)[0] == expected


@pytest.mark.parametrize("method", [FirstOrder, Blocks], ids=lambda kind: kind.__name__)
def test_where_the_default_leaves_the_finite_numbers_another_curvature_answers(tmp_path: Path, method) -> None:
    study, stages = sharp_study(tmp_path / "run"), [[0, 1], [5]]
    assert candidates_for(study.history, None)[0] == EXACT
    found = answer(study, method(), stages)
    assert found.curvature == "central_difference(radius=1.0)"
    again = answer(study, method(curvature=CURVATURES["central_difference"]()), stages)
    assert np.array_equal(found.effect, again.effect) and np.abs(found.effect).min() > 1e-6
    with pytest.raises(AadslError, match=r"left the finite numbers at step \d(.|\n)*using retraining\(\)"):
        answer(study, method(curvature=EXACT), stages)


@pytest.mark.parametrize("under", ["exact", "central_difference"])
def test_a_sweep_interrupted_under_either_curvature_goes_on_and_mixes_nothing(tmp_path: Path, under: str) -> None:
    def effects(study: aadsl.Study, progress=None) -> np.ndarray:
        return study.step_effects(["likelihood"], progress=progress).to_numpy()

    whole = effects(sharp_study(tmp_path / "whole"))
    study, before, after = sharp_study(tmp_path / "run"), [], []
    with pytest.raises(KeyboardInterrupt):
        effects(study, progress_ending(before, 3 if under == "exact" else 10, interrupt))
    assert (before == sorted(before, reverse=True)) == (under == "exact"), "the second sweep begins at the end again"
    assert np.array_equal(effects(study, progress_ending(after, -1, interrupt)), whole)
    assert len(before) + len(after) <= 6 + 8 + 2, "what was done is not done again, but for a step on either side"


def test_candidates_are_tried_in_turn_and_the_first_failure_is_told(tmp_path: Path) -> None:
    study, tried = recorded(tmp_path / "run"), []

    def sweep(curvature, execution) -> str:
        tried.append(curvature)
        if len(tried) <= failures:
            raise NotFiniteError(8 - len(tried), 8)
        return "answer"

    candidates, failures = candidates_for(study.history, None), 1
    found = finite_sweep(study.history, candidates, None, Execution(), sweep)
    assert found == ("answer", describe(candidates[1])) and tried == candidates
    assert candidates == [EXACT, CURVATURES["central_difference"]()]
    tried, failures = [], 2
    with pytest.raises(AadslError, match=r"at step 7(.|\n)*using retraining\(\)"):
        finite_sweep(study.history, candidates, None, Execution(), sweep)


def test_the_linearized_estimate_falls_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, stages = recorded(tmp_path / "run"), [[2, 3]]
    expected = answer(study, Linearized(curvature=EXACT), stages)
    nothing = torch.tensor(float("nan"))
    monkeypatch.setattr(
        CURVATURES["secant"], "pushforward", lambda self, o, p, es: [(a * nothing, b * nothing) for a, b in es]
    )
    found = answer(study, Linearized(), stages)
    assert found.curvature == "exact()"
    assert np.array_equal(found.effect, expected.effect)


def test_a_behavior_without_second_derivative_is_told(tmp_path: Path) -> None:
    study = sharp_study(tmp_path / "run")
    study.behavior("likelihood", "log_likelihood", on=(torch.zeros(2, 3, dtype=torch.float64), torch.tensor([0, 1])))
    with pytest.raises(AadslError, match=r'second derivative of behavior "likelihood"(.|\n)*read="linear"'):
        answer(study, Blocks(), [[2, 3]])
    assert np.isfinite(answer(study, Blocks(read="linear"), [[2, 3]]).effect).all()
