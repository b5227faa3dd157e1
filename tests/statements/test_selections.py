"""Stages against masks computed by hand with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aadsl.core.errors import AadslError
from aadsl.statements import Session, run, select
from tests.statements.fakes import LENGTH, FakeStudy

step = np.arange(LENGTH)
epoch, lr, quality = step // 20, np.where(step < 40, 0.1, 0.01), step / 10
tagged, poisoned = step >= 5, (step >= 30) & (step < 35)
odd = step % 2 == 1

CASES: list[tuple[str, Any]] = [
    ('batches where tag=="badnet"', poisoned),
    ('steps where tag == "clean"', tagged & ~poisoned),
    ('steps where tag != "clean"', poisoned),
    ('steps where not tag == "clean"', poisoned),
    ('steps where not (tag == "clean" and epoch == 0)', poisoned | (epoch > 0)),
    ('steps where tag == "badnet" or step == 2', poisoned | (step == 2)),
    ('steps where tag in ["badnet", "other"]', poisoned),
    ('steps where tag not in ["badnet"]', tagged & ~poisoned),
    ('steps where tag matches "^bad"', poisoned),
    ('steps where tag matches "a"', tagged),
    ('steps where "badnet" == tag', poisoned),
    ("steps[0:10]", step < 10),
    ("steps[-20:]", step >= 40),
    ("batches[::7]", step % 7 == 0),
    ("steps[:5]", step < 5),
    ("steps[50:1000]", step >= 50),
    ("steps[-20:] where lr < 0.1 and 1 <= epoch < 3", step >= 40),
    ("steps where 0 < epoch <= 1", epoch == 1),
    ("steps where 1 < epoch + 1 <= 2 * epoch", epoch >= 1),
    ("steps where step % 7 == 3", step % 7 == 3),
    ("steps where -epoch < -1", epoch == 2),
    ("steps where step - 5 - 5 == 0", step == 10),
    ("steps where 2 + 3 * 4 == step", step == 14),
    ("steps where 60 / 2 / 3 == step", step == 10),
    ("steps where 1 / epoch == 1", epoch == 1),
    ("steps where 1 / epoch < 2", epoch >= 1),
    ("steps where quality < 1", (quality < 1) & tagged),
    ("steps where not quality < 1", quality >= 1),
    ("steps where quality < 1 or epoch == 0", epoch == 0),
    ("steps where flipped", ~odd),
    ("steps where not flipped", odd),
    ("steps where flipped == false", odd),
    ("steps where flipped != True", odd),
    ("steps where sure", (step < 20) & ~odd & tagged),
    ("steps where not sure", ((step >= 20) | odd) & tagged),
    ("steps where sure == false", ((step >= 20) | odd) & tagged),
    ("steps where `top` == 2", step % 3 == 2),
    ("steps where lr < threshold", lr < 0.05),
    ("steps where epoch in chosen or step in chosen", np.isin(step, [4, 9])),
    ("steps where step in spread and epoch == second", np.isin(step, [20, 30])),
    ("steps where step in few", np.isin(step, [2, 3])),
    ("steps where step in [3, -1, 4.0]", np.isin(step, [3, 4])),
    ("steps where step in [\n  3,\n  4, # four\n  ]", np.isin(step, [3, 4])),
    ("steps where epoch == 0 and\n  lr == 0.1", epoch == 0),
    ("not (steps[0:10])", step >= 10),
    ("steps[0:10] or not steps[0:50]", (step < 10) | (step >= 50)),
    ("steps[0:10] and batches[5:] or steps[59:]", ((step >= 5) & (step < 10)) | (step == 59)),
    ("(steps where epoch == 2) and steps[:50]", (step >= 40) & (step < 50)),
    ("(steps[0:10] or steps[50:]) where epoch == 0", step < 10),
]


@pytest.mark.parametrize(("selection", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_selection_holds_exactly_these_steps(
    selection: str, expected: Any, session: Session, study: FakeStudy, names: dict[str, Any]
) -> None:
    run(f"stage chosen_steps = {selection}", names, session)
    np.testing.assert_array_equal(study.stages["chosen_steps"].values, expected)


announced = step != 7
# which of the examples 0 to 3 each batch takes: all but the one before the first
left_out = (step - 1) % 4
PREDICATES: list[tuple[str, Any]] = [
    ("share(label_noise == true) > 0.5", announced & np.isin(left_out, [2, 3])),
    ("share(label_noise) == 1 / 3", announced & np.isin(left_out, [0, 1])),
    ("any(label == 9)", announced & (left_out != 1)),
    ("not any(label == 9)", announced & (left_out == 1) & (left_out == 2)),  # the third label is missing
    ("all(label > 0)", announced & (left_out == 2)),
    ("not all(label == 4)", announced & (left_out != 1)),
    ("share(label == 4) == 0.5", announced & np.isin(left_out, [0, 3])),
    ("any(label == 9) and epoch == 0", announced & (left_out != 1) & (epoch == 0)),
    ("share(not label_noise and label == 4) > 0", announced & (left_out != 3)),
]


@pytest.mark.parametrize(("condition", "expected"), PREDICATES, ids=[case[0] for case in PREDICATES])
def test_a_predicate_looks_at_the_examples_of_each_batch(
    condition: str, expected: Any, session: Session, study: FakeStudy
) -> None:
    if not expected.any():
        condition = f"step == 0 or {condition}"
        expected = expected | (step == 0)
    run(f"stage noisy = batches where {condition}", {}, session)
    np.testing.assert_array_equal(study.stages["noisy"].values, expected)


def test_stages_combine_and_live_on_to_the_next_program(session: Session, study: FakeStudy) -> None:
    run('stage poisoned = batches where tag=="badnet"\nstage warmup = steps[0:10]', {}, session)
    run("stage clean = not poisoned and not warmup", {}, session)
    np.testing.assert_array_equal(study.stages["clean"].values, ~poisoned & (step >= 10))
    run("stage clean = clean where epoch == 0", {}, session)
    np.testing.assert_array_equal(study.stages["clean"].values, (step >= 10) & (step < 20))


def test_a_family_by_a_coordinate_leaves_out_steps_without_a_value(session: Session, study: FakeStudy) -> None:
    run("stages source by tag within steps[3:]\nstage bad = source[badnet] or source[clean]", {}, session)
    assert study.families["source"] == ("source[clean]", "source[badnet]")
    np.testing.assert_array_equal(study.stages["source[badnet]"].values, poisoned)
    np.testing.assert_array_equal(study.stages["bad"].values, tagged)


def test_families_by_numbers_and_truth_values(session: Session, study: FakeStudy) -> None:
    run("stages age by epoch\nstages parity by flipped\nstages mood by sure", {}, session)
    assert study.families["age"] == ("age[0]", "age[1]", "age[2]")
    assert study.families["parity"] == ("parity[false]", "parity[true]")
    run("stage both = age[2] and parity[true]", {}, session)
    np.testing.assert_array_equal(study.stages["both"].values, (epoch == 2) & ~odd)


def test_windows(session: Session, study: FakeStudy) -> None:
    run("stages window every 25 steps within steps[10:25] or steps[26:]", {}, session)
    assert study.families["window"] == ("window[0:25]", "window[25:50]", "window[50:60]")
    np.testing.assert_array_equal(study.stages["window[0:25]"].values, (step >= 10) & (step < 25))
    run("stage second = window[25:50]", {}, session)
    np.testing.assert_array_equal(study.stages["second"].values, (step >= 26) & (step < 50))


def test_python_code_selects_with_the_same_words(session: Session, study: FakeStudy) -> None:
    run("stage warmup = steps[0:10]", {}, session)
    found = select(study, "(steps where epoch == 0)\nand not warmup".replace("\n", " "))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, (step >= 10) & (step < 20))
    assert list(study.stages) == ["warmup"]
    with pytest.raises(AadslError) as caught:
        select(study, "steps where tga == 3")  # type: ignore[arg-type]
    assert str(caught.value).startswith('line 1: no coordinate "tga"')
    assert "\n    steps where tga == 3\n                ^^^\n" in str(caught.value)
    for text in ("", "steps[0:3]\nshow", "steps[0:3]\nsteps[4:5]", "steps[60:]", "load x"):
        with pytest.raises(AadslError):
            select(study, text)  # type: ignore[arg-type]
