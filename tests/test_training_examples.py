"""Effects of single training examples: the mislabeled ones are found, numbers are those of loops written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.statements.example_listing import ExampleListing
from jupyter_ext.views import examples_html
from tests.digits import images_and_labels, loss_fn, network

STEPS, BATCH, NIGHT = 40, 20, slice(25, 35)
BAD = 40
"""Of the 200 examples of the night, each consumed once; all other steps see the same 300 again and again."""


@cache
def mislabeled() -> tuple[Tensor, np.ndarray]:
    """Return all labels, some of the night's wrong, and which."""
    rng = np.random.default_rng(0)
    wrong = np.sort(rng.choice(np.arange(300, 500), BAD, replace=False))
    labels = images_and_labels()[1].clone()
    labels[wrong] = (labels[wrong] + torch.from_numpy(rng.integers(1, 10, BAD))) % 10
    return labels, wrong


def rows_of(step: int) -> np.ndarray:
    at_night = NIGHT.start <= step < NIGHT.stop
    return np.arange(BATCH) + (300 + BATCH * (step - NIGHT.start) if at_night else BATCH * (step % 15))


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def train(
    dtype: torch.dtype = torch.float32,
    weights: Mapping[int, float] | None = None,
) -> nn.Module:
    """Train as anyone would write it; the loss of some examples counts with a weight of its own, wherever they come."""
    x, y = images_and_labels(dtype)[0], mislabeled()[0]
    net = network(dtype)
    optimizer = sgd(net)
    for step in range(STEPS):
        rows = rows_of(step)
        each = nn.functional.cross_entropy(net(x[rows]), y[rows], reduction="none")
        counts = torch.tensor([(weights or {}).get(int(row), 1.0) for row in rows], dtype=dtype)
        optimizer.zero_grad()
        ((each * counts).sum() / len(rows)).backward()
        optimizer.step()
    return net


def study_of(folder: Path, dtype: torch.dtype = torch.float32) -> aadsl.Study:
    data = (images_and_labels(dtype)[0], mislabeled()[0])
    net = network(dtype)
    optimizer = sgd(net)
    with aadsl.Recorder(folder, net, optimizer, data=data) as recorder:
        for step in range(STEPS):
            rows = rows_of(step)
            optimizer.zero_grad()
            loss_fn(net, (data[0][rows], data[1][rows])).backward()
            recorder.batch(indices=rows, shift="night" if rows[0] >= 300 else "day")
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(folder), model=net, loss=loss_fn, data=data, device="cpu")
    study.stage("night", NIGHT)
    study.stage("day", [step for step in range(STEPS) if not NIGHT.start <= step < NIGHT.stop])
    study.behavior("reading", "log_likelihood", on=probes(dtype))
    study.behavior("fours", "margin", on=probes(dtype), where=probes(dtype)[1] == 4)
    return study


def probes(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x, y = images_and_labels(dtype)
    return x[5000:5300], y[5000:5300]


def reading(net: nn.Module, dtype: torch.dtype = torch.float32) -> float:
    with torch.no_grad():
        return -float(loss_fn(net, probes(dtype)))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> aadsl.Study:
    return study_of(tmp_path_factory.mktemp("examples") / "run")


def test_the_mislabeled_examples_of_a_stage_are_found(study: aadsl.Study) -> None:
    found = study.examples("night", "reading", top=0, self_influence=True)
    (harm,), (own,) = -found["example_estimate"].values[0], found["self_influence"].values
    assert found["training_example"].values.tolist() == list(range(300, 500))
    assert (found["occurrences"] == 1).all() and (found["label"] == mislabeled()[0][300:500].numpy()).all()
    for score in (harm, own):
        first = found["training_example"].values[np.argsort(-score)[:BAD]]
        assert np.isin(first, mislabeled()[1]).mean() > 0.5  # by chance 0.2


def test_the_largest_are_those_of_a_loop_without_them(study: aadsl.Study) -> None:
    found = study.examples("night", ["reading", "fours"], top=3, within="1 h")
    exact = found["example_exact"].sel(stage="night", behavior="reading")
    known = exact.dropna("training_example")
    estimate = found["example_estimate"].sel(stage="night", behavior="reading").values
    largest = found["training_example"].values[np.argsort(-np.abs(estimate))[:3]]
    assert {*largest} <= {*known["training_example"].values.tolist()}
    assert 6 <= known.size <= 12  # of either sign, and those of the other behavior among them
    observed = reading(train())
    for example in known["training_example"].values.tolist():
        assert float(known.sel(training_example=example)) == pytest.approx(
            observed - reading(train(weights={example: 0.0})), abs=1e-6
        )
    trust = found["example_trust"].sel(stage="night", behavior="reading")
    assert ((trust == "high") == np.isfinite(exact)).all()


def test_an_example_of_many_batches_counts_with_all_of_them(tmp_path: Path) -> None:
    """The sum over its occurrences is the derivative of the whole training in its weight, in double precision."""
    study = study_of(tmp_path / "run", torch.float64)
    found = study.examples("day", "reading", top=0).sel(stage="day", behavior="reading")
    day = [step for step in range(STEPS) if not NIGHT.start <= step < NIGHT.stop]
    assert found["occurrences"].values.tolist() == np.bincount(np.concatenate([*map(rows_of, day)])).tolist()
    for example in (3, 58):
        ends = [reading(train(torch.float64, {example: 1 + h}), torch.float64) for h in (1e-5, -1e-5)]
        assert float(found["example_estimate"].sel(training_example=example)) == pytest.approx(
            (ends[0] - ends[1]) / 2e-5, rel=1e-6
        )


def test_self_influence_of_plain_gradient_descent_is_tracins(tmp_path: Path) -> None:
    x, y = images_and_labels(torch.float64)
    net = network(torch.float64)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    rows, expected = np.arange(6), []
    for row in rows:
        gradient = torch.autograd.grad(loss_fn(net, (x[[row]], y[[row]])), [*net.parameters()])
        expected.append(0.1 / len(rows) * sum(float((g**2).sum()) for g in gradient))
    with aadsl.Recorder(tmp_path / "run", net, optimizer, data=(x, y)) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            loss_fn(net, (x[rows], y[rows])).backward()
            recorder.batch(indices=rows)
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(tmp_path / "run"), model=net, loss=loss_fn, data=(x, y), device="cpu")
    study.stage("first", slice(0, 1))
    study.behavior("reading", "log_likelihood", on=probes(torch.float64))
    found = study.examples("first", "reading", top=0, self_influence=True)
    np.testing.assert_allclose(found["self_influence"].values[0], expected, rtol=1e-12)


def test_an_answer_is_kept_and_takes_no_sweep(study: aadsl.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study.examples("night", "reading", top=1, within="1 h", self_influence=True)
    monkeypatch.setattr("aadsl.study.example_effects.example_scores", None)
    monkeypatch.setattr("aadsl.study.example_effects.self_influence", None)
    monkeypatch.setattr("aadsl.study.exact_answers.ends", None)
    again = study.examples("night", "reading", top=1, within="1 h", self_influence=True)
    assert again.drop_attrs(deep=False).equals(first.drop_attrs(deep=False))


def test_a_cell_shows_what_the_examples_look_like_and_saves_all_of_them(study: aadsl.Study, tmp_path: Path) -> None:
    asked = "examples of night on reading, fours top 2 with self_influence=true"
    saved = f'save "{tmp_path / "night.csv"}"\nsave "{tmp_path / "night.nc"}"\nsave "{tmp_path / "night.html"}"'
    result = aadsl.run(f"load study\n{asked}\n{saved}", {"study": study})
    listing = next(shown for shown in result.shown if isinstance(shown, ExampleListing))
    assert len(listing.blocks) == 5 and all(len(rows) == 2 for _, rows in listing.blocks)
    assert all(row.look["picture"].startswith("data:image/png") for _, rows in listing.blocks for row in rows)
    assert examples_html(listing).count("<img src=") == 10
    frame = result.frame
    assert frame is not None and len(frame) == 400
    of_reading = frame[frame["behavior"] == "reading"]
    assert of_reading["effect"].is_monotonic_decreasing
    assert set(of_reading["example"]) == set(range(300, 500)) and (of_reading["occurrences"] == 1).all()
    np.testing.assert_array_equal(of_reading["label"], mislabeled()[0][of_reading["index"]])
    assert len(pd.read_csv(tmp_path / "night.csv")) == 400
    page = (tmp_path / "night.html").read_text()
    assert "What single training examples of" in page and page.count("<td>estimate</td>") > 2 * 30


def test_runs_beside_each_other_have_their_own(study: aadsl.Study) -> None:
    result = aadsl.run(
        "load study as first\nload study as second\nstage part = night\nexamples of part on reading top 1",
        {"study": study},
    )
    assert result.dataset is not None
    assert {*result.dataset["behavior"].values} == {"reading[first]", "reading[second]"}
    assert result.frame is not None and len(result.frame) == 400


def test_a_behavior_without_gradient_is_refused(study: aadsl.Study) -> None:
    study.behavior("right", "accuracy", on=probes())
    with pytest.raises(aadsl.AadslError, match="right"):
        study.examples("night", "right")
