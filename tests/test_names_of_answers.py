"""Metadata that are called as a part of answers: refused while a run is recorded, told apart where one has them."""

from __future__ import annotations

from pathlib import Path

import pytest

import aadsl
from aadsl.data.coordinates import ANSWERED
from tests.digits import Recorded, record
from tests.trajectory.loops import DATA, mean_loss, sgd, small_model

QUESTIONS = """
stages part every 8 steps
behavior digits = log_likelihood on some per example
score part on digits
rank steps on digits top 3
rank part on digits
verify part on digits
shares part on digits
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


def test_all_that_answers_hold_is_kept_apart(run: Recorded) -> None:
    study = run.study()
    names = {"study": study, "some": (run.data[0][:20], run.data[1][:20])}
    result = aadsl.run(f"load study\n{QUESTIONS}", names)
    for answered in result.session.answers:
        own = set(map(str, answered.dataset.variables)) - set(map(str, study.steps.variables))
        assert own <= ANSWERED, own - ANSWERED


@pytest.mark.parametrize("name", ["effect", "behavior", "stage", "noise", "rank", "unit"])
def test_a_run_that_was_recorded_with_such_a_name_is_answered(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    optimizer = sgd(model)
    with monkeypatch.context() as patch, aadsl.Recorder(tmp_path / "run", model, optimizer, DATA) as recorder:
        patch.setattr("aadsl.trajectory.record.vocabulary.ANSWERED", frozenset())
        for t in range(6):
            rows = list(range(8 * t, 8 * t + 8))
            optimizer.zero_grad()
            mean_loss(model, DATA[rows]).backward()
            recorder.batch(indices=rows, **{name: t % 2})
            optimizer.step()
    text = f"""load "{tmp_path / "run"}" with model=net, loss=mean_loss, data=D, device="cpu"
stage odd = steps where {name}_given == 1
stages part by {name}_given
behavior b = log_likelihood on D
score odd, part on b
plot timeline of b by {name}_given
rank steps on b top 2
"""
    result = aadsl.run(text, {"net": model, "mean_loss": mean_loss, "D": DATA})
    assert f"{name}_given" in result.messages[0]
    assert result.session.answers[0].dataset[f"{name}_given"].values.tolist() == [0, 1] * 3
