"""Sets of steps and slices of examples where a name may stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aadsl.charts.grouping import group_steps
from aadsl.statements import Session, run
from tests.statements.fakes import LENGTH, FakeStudy
from tests.statements.snapshots import PRELUDE

STEP = np.arange(LENGTH)
POISONED = (STEP >= 30) & (STEP < 35)


@pytest.fixture
def ask(session: Session, names: dict[str, Any]) -> Any:
    run(PRELUDE, names, session)
    return lambda program: run(program, names, session)


@pytest.mark.parametrize(
    ("written", "called", "steps"),
    [
        ("steps[30:50]", "steps[30:50]", (STEP >= 30) & (STEP < 50)),
        ("batches[ -5 : ]", "batches[-5:]", STEP >= 55),
        ("(poisoned or steps[:3])", "poisoned or steps[:3]", POISONED | (STEP < 3)),
        ("(  not   poisoned)", "not poisoned", ~POISONED),
        ('(steps where tag == "badnet" and  # why\n  (epoch == 1))',
         'steps where tag == "badnet" and (epoch == 1)', POISONED),
        ('(source["badnet"])', 'source["badnet"]', POISONED),
    ],
)  # fmt: skip
def test_steps_stand_for_a_stage_that_is_called_as_written(
    ask: Any, study: FakeStudy, written: str, called: str, steps: Any
) -> None:
    for question in (f"score {written}, warmup on backdoor", f"verify warmup, {written} on backdoor",
                     f"shares {written}, warmup on backdoor"):  # fmt: skip
        dataset = ask(question).dataset
        assert set(dataset["stage"].values.tolist()) == {called, "warmup"}
        assert (dataset["member"].sel(stage=called).values == steps).all()
    ask(f'save "a.safetensors" without {written}')
    assert study.calls[-1] == ("save", "a.safetensors", (called,), "skip")


def test_nothing_is_named_by_a_program_with_a_mistake(ask: Any, study: FakeStudy) -> None:
    before = dict(study.stages)
    with pytest.raises(Exception, match="no behavior"):
        ask("score steps[30:50] on backdoor\nscore warmup on nothing")
    assert study.stages == before and not study.calls


def test_charts_color_a_slice_as_the_stage_that_it_is(ask: Any) -> None:
    dataset = ask("score steps[30:50], warmup on backdoor").dataset
    assert group_steps(dataset, None).names == ("steps[30:50]", "warmup", "no stage")


@pytest.mark.parametrize(
    ("on", "positions"),
    {
        "test[:3]": [0, 1, 2],
        "test[-2:]": [4, 5],
        "test[::2] where label == 4": [0, 2],
        "test[1:] where writer == 'ann'": [2, 5],
    }.items(),
)
def test_a_slice_takes_a_part_of_the_examples(ask: Any, study: FakeStudy, on: str, positions: list[int]) -> None:
    ask(f"behavior part = margin on {on}")
    assert study.behaviors["part"].examples.positions.tolist() == positions
    ask(f"behavior family = margin on {on} by writer")
    family = [study.behaviors[name].examples.positions.tolist() for name in study.behavior_families["family"]]
    assert sorted(np.concatenate(family)) == [at for at in positions if at != 3]  # the third's writer is unknown
