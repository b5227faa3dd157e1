"""What is said of mistakes in what the user wrote or gave: their own line, the right cause, and the way out."""

from __future__ import annotations

import statistics
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.study.calibration import compared
from tests.digits import Recorded, loss_fn, network, record

ASK = "stage some = steps[3:6]\nbehavior b = {} on test\nscore some on b"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("runs") / "run")


def said(run: Recorded, text: str, **names: Any) -> list[str]:
    test = (run.data[0][:20], run.data[1][:20])
    known = {"study": run.study(), "net": network(), "loss_fn": loss_fn, "digits": run.data, "test": test}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return aadsl.run(text, known | names).messages


def mistaken(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    scores = torch.log_softmax(model(batch[0]), 1)
    return scores.gather(0, batch[1])


def failing(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.CrossEntropyLoss(weight=torch.ones(3))(model(batch[0]), batch[1])


def empty(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return torch.tensor(statistics.mean([]))  # fails in a file of Python's own


def constant(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return model(batch[0]).sum(1) * 0.0


def load(run: Recorded, given: str = "loss=loss_fn, data=digits") -> str:
    return f'load "{run.path}" with model=net, {given}, device="cpu"\n'


def test_a_metric_or_a_loss_that_fails_shows_the_users_line(run: Recorded) -> None:
    metric = r"in line \d+ of mistaken: return scores\.gather\(0, batch\[1\]\)"
    with pytest.raises(AadslError, match=f"the behavior fails: RuntimeError: .*, {metric}"):
        said(run, f"load study\n{ASK.format('mistaken')}", mistaken=mistaken)
    with pytest.raises(AadslError, match=r"in line \d+ of empty: return torch\.tensor\(statistics"):
        said(run, f"load study\n{ASK.format('empty')}", empty=empty)
    with pytest.raises(AadslError, match=r"the loss fails: RuntimeError: .*, in line \d+ of failing: return nn\.Cross"):
        said(run, load(run, "loss=failing, data=digits"), failing=failing)


@pytest.mark.parametrize(
    ("other", "cause"),
    [
        (lambda x, y: (x, (y + 1) % 10), r"the labels of \d+ of \d+ sampled examples .* are others than in the run"),
        (lambda x, y: (x.flip(0), y.flip(0)), "the data are in another order than in the run"),
        (lambda x, y: (x[:50], y[:50]), "the data have 50 examples, those of the run are 10000"),
    ],
)
def test_other_data_are_told_where_they_are_loaded(run: Recorded, other: Any, cause: str) -> None:
    with pytest.raises(AadslError, match=rf"line 1: {cause}(.|\n)*data=others(.|\n)*\^{{6}}(.|\n)*unverified=true"):
        said(run, load(run, "loss=loss_fn, data=others"), others=other(*run.data))
    if cause.startswith("the labels"):
        told = said(run, load(run, "loss=loss_fn, data=others, unverified=true"), others=other(*run.data))
        assert any(line.startswith("note: the labels of") for line in told)


def test_what_has_no_effect_is_said_in_words(run: Recorded) -> None:
    text = (
        f"load study\n{ASK.format('constant')}\nverify some on b\ncheck b\nstages part every 8 steps\nscore part on b"
    )
    lines = said(run, text, constant=constant)
    assert "b 0: the stage has no effect on it" in "\n".join(lines)
    assert "b 0: no stage has any effect on it" in "\n".join(lines)
    assert any("b: no exact effect differs from zero over 1 stage" in line for line in lines)
    assert not any("nan" in line for line in lines)


def test_agreement_with_nothing_is_not_known() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = compared((0, 1, 2), np.zeros(3), np.zeros(3))
        some = compared((0, 1, 2), np.array([0.1, 0.0, 0.0]), np.array([0.1, 0.0, 0.0]))
    assert np.isnan(nothing.slope) and np.isnan(nothing.interval).all()
    assert some.slope == 1.0 and some.relative_error == 0.0 and some.interval == (0.0, 0.0)


def test_correlation_from_three_stages_on_and_one_stage_is_one(run: Recorded) -> None:
    text = "load study\nbehavior b = margin on test\nstages two every 12 steps\nstages three every 8 steps\n"
    one, two, three = (said(run, f"{text}verify {name} on b")[-1] for name in ("two[0:12]", "two", "three"))
    assert "over 1 stage\n" in one and "correlation" not in two and "correlation" in three
