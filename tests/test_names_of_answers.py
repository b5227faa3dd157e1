"""Metadata may be called as a part of answers, which then give them another name."""

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
examples of part on digits with self_influence=true
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


def test_all_that_answers_hold_is_kept_apart(run: Recorded) -> None:
    study = run.study()
    names = {"study": study, "some": (run.data[0][:20], run.data[1][:20])}
    result = aadsl.run(f"load study\n{QUESTIONS}", names)
    for answered in result.session.answers:
        of_examples = {n for n, v in answered.dataset.coords.items() if v.dims == ("training_example",)}
        own = set(map(str, answered.dataset.variables)) - set(map(str, study.steps.variables)) - of_examples
        assert own <= ANSWERED, own - ANSWERED


@pytest.mark.parametrize("name", ["effect", "behavior", "stage", "noise", "rank", "unit", "share"])
def test_metadata_may_be_called_as_a_part_of_answers(tmp_path: Path, name: str) -> None:
    model = small_model()
    optimizer = sgd(model)
    with aadsl.Recorder(tmp_path / "run", model, optimizer, DATA) as recorder:
        for t in range(6):
            rows = list(range(8 * t, 8 * t + 8))
            optimizer.zero_grad()
            mean_loss(model, DATA[rows]).backward()
            recorder.batch(indices=rows, **{name: t % 2, f"{name}_given": t})
            optimizer.step()
    text = f"""load "{tmp_path / "run"}" with model=net, loss=mean_loss, data=D, device="cpu"
stage odd = steps where `{name}` == 1 and {name}_given > 1
stages part by `{name}`
behavior b = log_likelihood on D
score odd, part on b
plot timeline of b by `{name}`
rank steps on b top 2
plot timeline of b by `{name}`
"""
    result = aadsl.run(text, {"net": model, "mean_loss": mean_loss, "D": DATA})
    for answered in result.session.answers:
        assert answered.dataset[f"{name}_given_given"].values.tolist() == [0, 1] * 3
        assert answered.dataset[f"{name}_given"].values.tolist() == list(range(6))
    assert result.study.stages["odd"].values.nonzero()[0].tolist() == [3, 5]
    assert len(result.charts) == 2


def test_what_was_recorded_is_no_answer(tmp_path: Path) -> None:
    """A chart of shares is not drawn of a coordinate that is called so."""
    model = small_model()
    optimizer = sgd(model)
    with aadsl.Recorder(tmp_path / "run", model, optimizer, DATA) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            mean_loss(model, DATA[:8]).backward()
            recorder.batch(indices=range(8), share=1.0, without=0.0)
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(tmp_path / "run"), model=model, loss=mean_loss, data=DATA, device="cpu")
    text = "load study\nstage late = steps[1:]\nbehavior b = log_likelihood on D\nscore late on b\nplot waterfall"
    with pytest.raises(aadsl.AadslError, match=r"no answer to plot has shares of stages"):
        aadsl.run(text, {"study": study, "D": DATA})
