"""Whatever replays a stretch compares it, and an answer says what was compared with nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from aadsl import Study, open_trajectory
from aadsl.core.errors import AadslError
from tests.situations.harness import DATA, Try, cross_entropy, dropout
from tests.situations.plants import Plant

LENGTH, PLANTED, STAGE = 100, 34, slice(3, 9)


@pytest.fixture(scope="module")
def fooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which one step, in no stretch that a spot check replays, used another batch than announced."""
    folder = tmp_path_factory.mktemp("fooled") / "run"
    Plant("batch", PLANTED, LENGTH, 0, "SGD").loop(Try(folder))
    return folder


def study_of(folder: Path, **options: object) -> Study:
    study = Study(open_trajectory(folder), model=dropout(), loss=cross_entropy, data=DATA, device="cpu", **options)
    study.stage("early", STAGE)
    study.behavior("likelihood", "log_likelihood", on=DATA)
    return study


@pytest.mark.parametrize("estimator", ["first_order", "blocks", "linearized", "tracin"])
def test_a_sweep_finds_what_a_spot_check_misses(fooled: Path, estimator: str) -> None:
    study = study_of(fooled)
    assert study.verify_trajectory(samples=2).ok
    with pytest.raises(
        AadslError, match=f"some steps differ: until step {PLANTED} the losses are those that were recorded"
    ):
        study.score(["early"], ["likelihood"], estimator=estimator)
    with pytest.raises(AadslError, match="does not pass verification"):
        study.score(["early"], ["likelihood"], estimator=estimator)


def test_what_a_sweep_found_is_marked_where_that_is_tolerated(fooled: Path) -> None:
    answer = study_of(fooled, unverified=True).score(["early"], ["likelihood"], estimator="first_order")
    assert answer.trust.values.tolist() == [["low"]]
    assert answer.attrs["unverified_cause"] == "some steps differ"


def test_what_a_sweep_compared_is_not_replayed_again(tmp_path: Path) -> None:
    Plant("nothing", 0, LENGTH, 0, "SGD").loop(Try(tmp_path))
    study = study_of(tmp_path)
    study.score(["early"], ["likelihood"], estimator="first_order")
    check = study_of(tmp_path).spot_check
    identity = study._answering.identifier.now()
    assert check.left_to_compare(identity, 0) == 0


@pytest.mark.parametrize("killed", [False, True])
def test_steps_without_a_state_after_them_are_told(killed: bool, tmp_path: Path) -> None:
    Plant("nothing", 0, 40, 0, "SGD").loop(Try(tmp_path))
    if killed:
        (tmp_path / "state-40.nc").unlink()
    study = study_of(tmp_path)
    answer = study.score(["early"], ["likelihood"])
    assert ("uncompared" in answer.attrs) is killed
    if not killed:
        return
    assert answer.attrs["uncompared"] == "steps 32 … 39"
    assert answer.attrs["answered_by"] == "1 stage by retraining"
    assert answer.trust.values.tolist() == [["low"]]
    assert "no state was recorded after steps 32 … 39" in str(answer.trust_reason.values[0, 0])
