"""Peers beside us at toy size: no network, nothing installed; peers are stand-ins that keep to the same protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.peers import __main__ as command
from tests.peers.environments import NoAnswerError, required, version
from tests.peers.found import fidelity
from tests.peers.method import measured
from tests.peers.own import METHODS as OWN
from tests.peers.stand_in import METHODS as STAND_INS
from tests.peers.task import Task, loss
from tests.peers.tasks import TRUTHS, write


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    write("toy", 3, folder)
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "peers.md"
    own, methods_of, asked = {"first_order": OWN["first_order"]}, command.methods_of, command.asked

    def ours_here(peer: str, method: str, python: str, folder: Path, timeout: float) -> dict[str, Any]:
        """Our own answer in this process, which has imported everything; peers' in theirs."""
        return (
            measured(own[method], Task.read(folder)) if peer == "own" else asked(peer, method, python, folder, timeout)
        )

    def not_again(*given: Any) -> dict[str, Any]:
        raise AssertionError("what was answered is kept")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "methods_of", lambda peer: own if peer == "own" else methods_of(peer))
        patch.setattr(command, "asked", ours_here)
        given = ["own", "stand_in", "--tasks", "toy", "--seeds", "0", "--page", str(path), "--kept", str(path.parent)]
        command.main(given)
        first = path.read_text(encoding="utf-8")
        patch.setattr(command, "methods_of", lambda peer: {"gradients": STAND_INS["gradients"]})
        patch.setattr(command, "asked", not_again)
        command.main(["stand_in", *given[2:]])
    again = path.read_text(encoding="utf-8")
    assert cells(again, "At a glance", "stand_in gradients") == cells(first, "At a glance", "stand_in gradients")
    return first


def cells(page: str, section: str, method: str) -> list[str]:
    lines = page.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    (line,) = (line for line in lines if line.startswith(f"| {method} |"))
    return line.strip("| ").split(" | ")


def test_a_task_is_read_as_it_was_trained(written: Path) -> None:
    task = Task.read(written)
    model = task.model()
    task.train(model)
    assert all(torch.equal(value, task.states[-1][name]) for name, value in model.state_dict().items())
    assert len(task.states) == 1 + len(task.batches) and len(task.checkpoints) == 5


@pytest.mark.parametrize("truth", ["skip", "zero_gradient"])
def test_truths_are_those_of_training_again(written: Path, truth: str) -> None:
    """Without momentum and decay, a step without gradient is no step."""
    task = Task.read(written)
    (images, labels), left_out = task.behaviors["digits"], 6
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(len(task.batches)):
        if step != left_out:
            optimizer.zero_grad()
            loss(model, task.batch(step)).backward()
            optimizer.step()
    with torch.no_grad():
        seen, other = (
            -nn.functional.cross_entropy(net(images).double(), labels).item() for net in (task.model(-1), model)
        )
    found = np.load(written / "truths.npz")[truth]
    assert found.shape == (1, 10)
    np.testing.assert_allclose(found[0, left_out], seen - other, rtol=1e-4)


def test_scores_of_examples_are_added_up_over_each_batch(written: Path) -> None:
    task = Task.read(written)
    scores = torch.arange(80.0)[None]
    np.testing.assert_array_equal(task.per_step(scores)[0], scores.reshape(10, 8).sum(dim=1))
    assert task.per_step(scores[:, :10]) is not scores and torch.equal(task.per_step(scores[:, :10]), scores[:, :10])


def test_fidelity_is_zero_error_where_scores_are_the_truth() -> None:
    truth = np.array([1.0, -2.0, 0.5, 4.0])
    assert fidelity(truth, truth) == pytest.approx((1.0, 1.0, 1.0, 0.0))
    cubed = fidelity(truth**3, truth)
    assert cubed.spearman == pytest.approx(1.0) and cubed.pearson < 0.99 and cubed.error > 1


@pytest.mark.parametrize("method", ["retraining", "first_order, zero_gradient"])
def test_we_answer_what_the_loops_say(written: Path, tmp_path: Path, method: str) -> None:
    task = Task.read(written)
    found = task.per_step(OWN[method].act(task, tmp_path))[0].numpy()
    close = fidelity(found, np.load(written / "truths.npz")[OWN[method].truth][0])
    assert close.error < (1e-4 if method == "retraining" else 0.2) and close.pearson > 0.99


def test_our_rows_stand_beside_those_of_peers(page: str) -> None:
    claim, pearson, spearman, slope, error, *other = cells(page, "toy, digits", "aadsl first_order")[1:]
    assert claim == "skip" and float(pearson) > 0.99 and float(spearman) > 0.9 and 0.8 < float(slope) < 1.2
    assert 0.0 < float(error.rstrip("%")) < 20.0 and other == [pearson, error]


def test_a_peer_answers_in_a_process_of_its_own(page: str) -> None:
    assert float(cells(page, "toy, digits", "stand_in gradients")[2]) > 0.5
    assert cells(page, "At a glance", "stand_in gradients")[-1] == "4" == str(STAND_INS["gradients"].lines)
    assert "×" in cells(page, "Cost", "stand_in gradients")[1]


def test_who_fails_is_named_with_the_reason(page: str) -> None:
    assert "* stand_in failing (toy, seed 0): ValueError: no such layer" in page
    assert cells(page, "toy, digits", "stand_in failing")[2:] == ["–"] * 6


def test_a_peer_that_is_better_is_said_to_be(page: str) -> None:
    assert f"4 lines of code against {OWN['first_order'].lines}" in page.split("* **stand_in gradients**: ")[1]


def test_a_peer_that_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object) -> str:
        raise NoAnswerError("no matching distribution")

    monkeypatch.setattr(command, "python_of", refused)
    command.main(
        ["captum", "--tasks", "toy", "--seeds", "0", "--page", str(tmp_path / "page.md"), "--kept", str(tmp_path)]
    )
    assert "* captum TracInCP (toy, seed 0): no matching distribution" in (tmp_path / "page.md").read_text("utf-8")


def test_scores_that_are_no_numbers_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answers_nan(line: list[str], *_: object, **__: object) -> None:
        Path(line[-1]).write_text('{"scores": [[1.0, NaN]]}', encoding="utf-8")

    monkeypatch.setattr(command, "called", answers_nan)
    with pytest.raises(NoAnswerError, match="not finite"):
        command.asked("captum", "TracInCP", "python", tmp_path, 1.0)


def test_every_peer_is_pinned() -> None:
    for peer in command.PEERS[1:]:
        pins = required(peer).splitlines()
        assert version(peer).split()[0] == peer.replace("_", "-") and all(pin.count("==") == 1 for pin in pins)
        for method in command.methods_of(peer).values():
            assert method.lines > 0 and method.truth in TRUTHS
