"""Programs on a real recorded run, against the Python interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from torch import nn

import aadsl
from aadsl.estimators import FirstOrder
from aadsl.statements import Session, run
from tests.statements.tiny import STEPS

LOAD = 'load "runs/tiny" with model=net, loss=loss_fn, data=train\n'
DEFINE = """
stage poisoned = batches where tag=="badnet"
stages source by tag
behavior backdoor = log_likelihood(target=7) on triggered
behavior digits = margin on test where label in [4, 9] by label
"""


@pytest.fixture
def names(tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tiny[0])
    return dict(tiny[1])


def study(names: dict[str, Any]) -> aadsl.Study:
    trajectory = aadsl.open_trajectory("runs/tiny")
    return aadsl.Study(trajectory, model=names["net"], loss=names["loss_fn"], data=names["train"])


def test_a_program_gives_what_python_gives(names: dict[str, Any]) -> None:
    result = run(LOAD + DEFINE + "score poisoned, source on backdoor, digits", names)
    by_hand = study(names)
    by_hand.stage("poisoned", by_hand.steps.tag == "badnet")
    by_hand.behavior("backdoor", "log_likelihood", on=names["triggered"], target=7)
    by_hand.behavior("digits", "margin", on=names["test"].isel(sample=[0, 1, 2, 4, 5]), by="label")
    expected = by_hand.score(["poisoned"], ["backdoor", "digits"])
    assert result.dataset is not None
    found = result.dataset["effect"].sel(stage="poisoned")
    assert found.behavior.values.tolist() == ["backdoor", "digits[4]", "digits[9]"]
    np.testing.assert_allclose(found.values, expected["effect"].values[0])
    assert np.abs(found.values).min() > 0
    for attribute in ("question", "estimator", "intervention", "trajectory_digest"):
        assert result.dataset.attrs[attribute] == expected.attrs[attribute]
    assert result.dataset["stage"].values.tolist() == ["poisoned", "source[clean]", "source[badnet]"]


def test_a_study_of_the_notebook_brings_its_names(names: dict[str, Any]) -> None:
    mine = study(names)
    mine.stage("mine", slice(3, 6))
    mine.behavior("own", names["my_metric"], on=names["test"])
    result = run("load mine\nstage rest = not mine\nscore mine, rest on own", {**names, "mine": mine})
    assert result.session.study is mine
    assert result.dataset is not None
    assert result.dataset["member"].sel(stage="rest").sum() == STEPS - 3


def test_trajectories_and_several_paths_are_loaded(names: dict[str, Any]) -> None:
    trajectory = aadsl.open_trajectory("runs/tiny")
    result = run("load it with model=net, loss=loss_fn, data=train", {**names, "it": trajectory})
    assert result.messages[0].startswith(f"loaded {STEPS} steps")
    with pytest.raises(aadsl.AadslError, match=r"line 1: (.|\n)*runs/missing"):
        run('load "runs/tiny", "runs/missing" with model=net, loss=loss_fn, data=train', names)


def test_a_model_that_does_not_fit_is_a_mistake_of_the_program(names: dict[str, Any]) -> None:
    session = Session()
    with pytest.raises(aadsl.AadslError) as caught:
        run(LOAD.replace("net", "other") + "stage a = steps[0:3]", {**names, "other": nn.Linear(2, 2)}, session)
    (problem,) = caught.value.problems
    assert problem.span is not None
    assert problem.span.line == 1
    assert session.study is None


def test_running_a_program_again_computes_nothing(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    program = LOAD + DEFINE + "score source on backdoor\nverify source on digits\nrank steps on backdoor top 2"
    first = run(program, names)

    def computed(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(FirstOrder, "step_effects", computed)
    again = run(program, names)
    for one, other in zip(first.session.answers, again.session.answers, strict=True):
        xr.testing.assert_equal(one.dataset.drop_attrs(), other.dataset.drop_attrs())
    assert "the answer is in the cache" in run("explain score source on backdoor", names, again.session).plan


def test_a_new_load_leaves_the_old_names_behind(names: dict[str, Any]) -> None:
    session = run(LOAD + DEFINE, names).session
    run(LOAD, names, session)
    with pytest.raises(aadsl.AadslError, match='no stage "poisoned"'):
        run("score poisoned on backdoor", names, session)


def test_progress_is_heard(names: dict[str, Any]) -> None:
    heard: list[tuple[str, int, int]] = []
    program = LOAD + DEFINE + "score poisoned on backdoor using first_order(curvature=zero)"
    run(program, names, progress=lambda *what: heard.append(what))
    assert heard
    assert all(0 <= done <= total and what for what, done, total in heard)


def test_every_answer_can_be_saved_and_read_with_xarray_alone(names: dict[str, Any], tmp_path: Path) -> None:
    questions = [
        "score poisoned, source on backdoor",
        "verify source on backdoor",
        "rank steps on backdoor",
        "rank source on digits",
        "score poisoned on each using linearized()",
    ]
    define = DEFINE + "behavior each = margin on test per example\n"
    session = run(LOAD + define, names).session
    for question in questions:
        saved = "\n".join(f'save "{tmp_path}/answer{extension}"' for extension in (".nc", ".csv"))
        dataset = run(f"{question}\n{saved}", names, session).dataset
        assert dataset is not None
        with xr.open_dataset(tmp_path / "answer.nc") as again:
            assert "gradients" in again.attrs["plan"], question
            assert again.attrs["question"].endswith("?") and again.attrs["trajectory_digest"]
            assert set(again.data_vars) == set(dataset.data_vars), question
            if "effect" in dataset:
                np.testing.assert_array_equal(again["effect"], dataset["effect"])
        assert len((tmp_path / "answer.csv").read_text().splitlines()) > 1


def test_python_names_a_stage_with_the_languages_text(names: dict[str, Any]) -> None:
    mine = study(names)
    mine.stage("poisoned", 'batches where tag=="badnet"')
    mine.stage("late", "not poisoned and steps[-8:]")
    assert mine.stages["late"].values.nonzero()[0].tolist() == list(range(16, 24))
    with pytest.raises(aadsl.AadslError, match='did you mean "tag"'):
        mine.stage("typo", 'batches where tga=="badnet"')


COORDINATES = {
    "level": np.array([9.0, 4.0, np.nan, 0.5, 4.0, 9.0]),
    "sure": np.array([True, False, True, True, False, True]),
    "count": np.array([3, 1, 3, 2, 1, 3], dtype=np.int8),
    "writer": np.array(["zoe", "ann", "", "zoe", "bob", "ann"], dtype=object),
}


@pytest.mark.parametrize("coordinate", COORDINATES)
def test_python_and_the_language_make_the_same_families(names: dict[str, Any], coordinate: str) -> None:
    varied = names["test"].assign({name: ("sample", values) for name, values in COORDINATES.items()})
    mine = study(names)
    mine.behavior("own", "margin", on=varied, by=coordinate)
    session = run(f"load mine\nbehavior b = margin on test by {coordinate}", {"mine": mine, "test": varied}).session
    assert session.study is mine
    by_python, by_language = ([mine.behaviors[full] for full in mine.behavior_families[name]] for name in ("own", "b"))
    assert [b.name.replace("own", "b") for b in by_python] == [b.name for b in by_language]
    for one, other in zip(by_python, by_language, strict=True):
        np.testing.assert_array_equal(one.examples.positions, other.examples.positions)


def test_members_are_named_as_the_language_reads_them(names: dict[str, Any]) -> None:
    mine = study(names)
    members = {4.0: [0], np.float32(9): [1], True: [2], np.int64(3): [3], 0.5: [4], "text": [5]}
    found = mine.family("level", {key: np.array(steps) for key, steps in members.items()})
    assert found == ("level[4]", "level[9]", "level[true]", "level[3]", "level[0.5]", "level[text]")
    run("load mine\nstage a = level[4.0] or level[9] or level[0.5] or level[text]", {"mine": mine})
    assert mine.stages["a"].values.nonzero()[0].tolist() == [0, 1, 4, 5]


def test_a_family_of_too_many_behaviors_is_refused_before_anything_runs(names: dict[str, Any]) -> None:
    many = (xr.Dataset({"image": (("sample", "pixel"), np.zeros((300, 5), np.float32))})
            .assign(label=("sample", np.zeros(300, int)), key=("sample", np.arange(300))))  # fmt: skip
    mine = study(names)
    with pytest.raises(aadsl.AadslError, match='line 2: the family "b" would have more than 256 members'):
        run("load mine\nbehavior b = margin on many by key", {"mine": mine, "many": many})
    with pytest.raises(aadsl.AadslError, match="more than 256 members"):
        mine.behavior("b", "margin", on=many, by="key")
    assert not mine.behaviors
