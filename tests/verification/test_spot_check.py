"""Effects on trajectories that are not what happened are refused, or given with the cause written on them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import xarray as xr
from torch import nn

import aadsl.study.spot_check
from aadsl import Study
from aadsl.charts.words import provenance
from aadsl.core.errors import AadslError
from aadsl.statements import Result, run
from aadsl.trajectory import open_trajectory
from aadsl.verification.report import REMEDIES
from aadsl.verification.verify import _affordable
from jupyter_ext.display import show
from tests.trajectory.forging import rewrite
from tests.trajectory.loops import INPUTS, TARGETS, mean_loss, small_model
from tests.verification.test_causes import record

ORDER = torch.randperm(60, generator=torch.Generator().manual_seed(5))


def squared(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.mse_loss(model(batch[0]), F.one_hot(batch[1], 3).float())


def change_first(folder: Path) -> None:
    def change(old: Any) -> Any:
        old[7] += 0.5
        return old

    rewrite(folder / "state-0.nc", {"parameters_float32": change})


def nothing(folder: Path) -> None:
    pass


FAULTS: dict[str, tuple[dict[str, Any], Callable[[Path], None]]] = {
    "shuffled data": ({"data": (INPUTS[ORDER], TARGETS[ORDER])}, nothing),
    "other data": ({"data": (INPUTS + 1, TARGETS)}, nothing),
    "other loss": ({"loss": squared}, nothing),
    "changed weight": ({}, change_first),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def given(**changes: Any) -> dict[str, Any]:
    return {"model": small_model(), "loss": mean_loss, "data": (INPUTS, TARGETS), **changes}


def study_of(folder: Path, **changes: Any) -> Study:
    study = Study(open_trajectory(folder), **given(**changes), device="cpu")
    study.stage("early", slice(2, 5))
    study.behavior("right", "log_likelihood", on=(INPUTS[:9], TARGETS[:9]))
    study.behavior("sure", "margin", on=(INPUTS[:9], TARGETS[:9]))
    return study


def program(folder: Path, rest: str, *, options: str = "", **changes: Any) -> Result:
    load = f'load "{folder}" with model=model, loss=loss, data=data, device="cpu"{options}\nstage early = steps[2:5]\n'
    return run(f"{load}behavior right = log_likelihood on probes\n{rest}",
               {**given(**changes), "probes": (INPUTS[:9], TARGETS[:9])})  # fmt: skip


QUESTIONS: dict[str, Callable[[Study], Any]] = {
    "score": lambda study: study.score(["early"], ["right"]),
    "linearized": lambda study: study.score(["early"], ["right"], estimator="linearized"),
    "retrain": lambda study: study.retrain(["early"], ["right"]),
    "step_effects": lambda study: study.step_effects(["right"]),
    "check": lambda study: study.check(["right"], samples=2),
    "error_bound": lambda study: study.error_bound(["early"]),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_question_is_refused_with_the_cause(tmp_path: Path, cause: str) -> None:
    record(tmp_path / "run")
    changes, harm = FAULTS[cause]
    harm(tmp_path / "run")
    study = study_of(tmp_path / "run", **changes)
    with pytest.raises(AadslError, match=f"does not pass verification: {cause}") as caught:
        study.score(["early"], ["right"])
    assert REMEDIES[cause] in str(caught.value) and "unverified=True" in str(caught.value)


@pytest.mark.parametrize("unverified", [False, True])
def test_a_damaged_file_is_never_read(tmp_path: Path, unverified: bool) -> None:
    record(tmp_path)
    study = study_of(tmp_path, unverified=unverified)
    flip(tmp_path / "state-8.nc")
    with pytest.raises(AadslError, match=r"state-8.nc was changed after it was written"):
        study.score(["early"], ["right"])
    assert study.verify_trajectory().causes == ("changed file",)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_refused_or_marked(tmp_path: Path, question: str) -> None:
    record(tmp_path)
    with pytest.raises(AadslError, match="other loss"):
        QUESTIONS[question](study_of(tmp_path, loss=squared))
    marked = QUESTIONS[question](study_of(tmp_path, loss=squared, unverified=True))
    assert marked.attrs["unverified_cause"] == "other loss"
    assert "the loss at step " in marked.attrs["unverified"]
    assert (
        not {"unverified", "unverified_cause"} & QUESTIONS[question](study_of(tmp_path, unverified=True)).attrs.keys()
    )


TOLD_AT_LOAD = {"shuffled data": "the data are in another order", "other data": "the data have as many examples"}


@pytest.mark.parametrize("cause", FAULTS)
def test_the_language_refuses_and_marks(tmp_path: Path, cause: str) -> None:
    record(tmp_path / "run")
    changes, harm = FAULTS[cause]
    harm(tmp_path / "run")
    with pytest.raises(AadslError, match=TOLD_AT_LOAD.get(cause, f"verification: {cause}")) as caught:
        program(tmp_path / "run", "score early on right", **changes)
    (problem,) = caught.value.problems
    assert problem.span is not None and problem.span.line == (1 if cause in TOLD_AT_LOAD else 4)
    assert "unverified=true" in problem.hint

    result = program(tmp_path / "run", "score early on right\nplot bars", options=", unverified=true", **changes)
    assert result.dataset is not None
    assert result.dataset.attrs["unverified_cause"] == cause
    assert set(result.dataset["trust"].values.flat) == {"low"}
    assert f"the trajectory does not pass verification: {cause}" in str(result.dataset["trust_reason"].values.flat[0])
    assert f"so these numbers may mean nothing: {cause}" in str(result)
    assert f"({cause})" in provenance(result.dataset)
    assert cause in result.charts[0].to_json()
    ranked = program(tmp_path / "run", "rank steps on right", options=", unverified=true", **changes)
    assert "may mean nothing" in str(ranked) and ranked.dataset is not None and ranked.dataset.attrs["unverified"]


def test_a_sound_trajectory_is_not_spoken_of(tmp_path: Path) -> None:
    record(tmp_path)
    result = program(tmp_path, "score early on right")
    assert result.dataset is not None and not {"unverified", "unverified_cause"} & result.dataset.attrs.keys()
    assert "verif" not in str(result.messages)


def test_the_statement_shows_a_report(tmp_path: Path) -> None:
    record(tmp_path)
    (report,) = program(tmp_path, "verify trajectory with samples=3").reports
    assert report.ok and "in 3 stretches were replayed" in str(report)

    result = program(tmp_path, "verify trajectory\nshow stages", loss=squared)
    (report,) = result.reports
    assert report.causes == ("other loss",)
    assert "does not pass verification" in str(result) and REMEDIES["other loss"] in str(result)
    assert "<b>other loss</b>" in report._repr_html_()
    with pytest.raises(AadslError, match="line 5"):
        program(tmp_path, "verify trajectory\nscore early on right", loss=squared)


def test_a_notebook_shows_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path)
    shown: list[Any] = []
    monkeypatch.setattr("jupyter_ext.display.display", lambda what, **_: shown.append(what))
    result = program(tmp_path, "verify trajectory", loss=squared)
    show(result)
    assert shown[1:] == result.reports and "loaded 21 steps" in shown[0]["text/html"]


def test_kept_answers_and_kept_verdicts_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path)
    checks = []
    verify = aadsl.study.spot_check.verify_history
    monkeypatch.setattr(aadsl.study.spot_check, "verify_history", lambda *given: checks.append(1) or verify(*given))
    study = study_of(tmp_path)
    study.plan(["early"], ["right"])
    assert not checks
    first = study.score(["early"], ["right"])
    assert len(checks) == 1
    study.retrain(["early"], ["right", "sure"])
    again = study_of(tmp_path).score(["early"], ["right"])
    xr.testing.assert_equal(first.effect, again.effect)
    study_of(tmp_path).score(["early"], ["sure"])
    study_of(tmp_path, unverified=True).score(["early"], ["sure"])
    assert len(checks) == 1
    with pytest.raises(AadslError, match="other loss"):
        study_of(tmp_path, loss=squared).score(["early"], ["right"])
    assert len(checks) == 2


def test_answers_on_a_failing_trajectory_are_kept_apart(tmp_path: Path) -> None:
    record(tmp_path)
    tolerant, strict = study_of(tmp_path, loss=squared, unverified=True), study_of(tmp_path, loss=squared)
    once, twice = (tolerant.score(["early"], ["right"]) for _ in range(2))
    assert once.attrs["unverified"] == twice.attrs["unverified"]
    for _ in range(2):
        with pytest.raises(AadslError, match="other loss"):
            strict.score(["early"], ["right"])


def test_what_a_thorough_check_finds_counts_from_then_on(tmp_path: Path) -> None:
    record(tmp_path)

    def change(old: Any) -> Any:
        old[7] += 0.5
        return old

    rewrite(tmp_path / "state-18.nc", {"parameters_float32": change})
    study = study_of(tmp_path)
    assert study.verify_trajectory().causes == ("changed weight",)
    with pytest.raises(AadslError, match="changed weight"):
        study.score(["early"], ["right"], estimator="first_order")


def test_an_exact_answer_is_refused_where_a_spot_check_would_not_look(tmp_path: Path) -> None:
    record(tmp_path)

    def change(old: Any) -> Any:
        old[7] += 0.5
        return old

    rewrite(tmp_path / "state-18.nc", {"parameters_float32": change})
    for _ in range(2):
        with pytest.raises(AadslError, match="changed weight"):
            study_of(tmp_path).score(["early"], ["right"])


def test_data_mended_in_place_are_looked_at_again(tmp_path: Path) -> None:
    record(tmp_path)
    inputs = INPUTS.clone()
    inputs[:] += 1
    study = study_of(tmp_path, data=(inputs, TARGETS))
    with pytest.raises(AadslError, match="other data"):
        study.score(["early"], ["right"])
    inputs[:] = INPUTS
    assert "unverified" not in study.score(["early"], ["right"]).attrs


@pytest.mark.parametrize("estimator", ["auto", "first_order"])
def test_data_that_are_broken_for_a_while_are_refused_for_a_while(tmp_path: Path, estimator: str) -> None:
    record(tmp_path)
    inputs = INPUTS.clone()
    study = study_of(tmp_path, data=(inputs, TARGETS))
    first = study.score(["early"], ["right"], estimator=estimator).effect.item()
    inputs[:] += 1
    with pytest.raises(AadslError, match="other data"):
        study.score(["early"], ["right"], estimator=estimator)
    inputs[:] = INPUTS
    assert study.score(["early"], ["right"], estimator=estimator).effect.item() == first


def test_other_kernels_are_no_reason_to_refuse(tmp_path: Path) -> None:
    record(tmp_path)
    rewrite(tmp_path / "run.nc", {"provenance_torch": "1.0"})
    study = study_of(tmp_path, loss=lambda model, batch: mean_loss(model, batch) * (1 + 1e-4))
    assert "unverified" not in study.score(["early"], ["right"]).attrs


@pytest.mark.parametrize("length", [1, 5, 24, 100, 1_000, 10_000, 1_000_000])
@pytest.mark.parametrize("spacing", ["twice squares", "triangles", "all", "every 10", "every 50"])
def test_a_spot_check_costs_a_few_percent_of_a_sweep(length: int, spacing: str) -> None:
    root = int(length**0.5)
    places = {
        "twice squares": [1, *(2 * k * k for k in range(root + 1))],
        "triangles": [k * (k + 1) // 2 for k in range(2 * root)],
        "all": list(range(length)),
        "every 10": list(range(0, length, 10)),
        "every 50": list(range(0, length, 50)),
    }[spacing]
    kept = sorted({place for place in places if place < length} | {length})
    gaps = list(pairwise(kept))
    for free in (0, 30):
        chosen = _affordable(gaps, length, free)
        replayed = sum(stop - start for start, stop in chosen)
        assert replayed <= max(length / 20, free, 1) and set(chosen) <= set(gaps)
        assert chosen or min(stop - start for start, stop in gaps) > max(length / 20 - 1, free, 1)


def test_states_that_lie_too_far_apart_are_told_of(tmp_path: Path) -> None:
    record(tmp_path, steps=60, states="all")
    trajectory = open_trajectory(tmp_path)
    for place in trajectory.checkpoints[1:-1]:
        (tmp_path / f"state-{place}.nc").unlink()
    study = study_of(tmp_path)
    report = aadsl.study.spot_check.verify_history(study.history, None)
    assert report.ok and "too far apart for a spot check" in str(report)
    assert "60 steps in 1 stretches were replayed" in str(study.verify_trajectory())
