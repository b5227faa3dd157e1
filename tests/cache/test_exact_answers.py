"""Exact answers and counterfactual models are computed once, kept, and read again by whatever behavior comes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.propagation import StepMap
from aadsl.study.exact_answers import ExactAnswers
from tests.digits import STEPS, Recorded, record

STAGES = {"early": [1, 2, 3], "scattered": [2, 9, 17], "last": [STEPS - 1]}
PROBES = slice(1000, 1060)


@pytest.fixture
def run(tmp_path: Path) -> Recorded:
    return record(tmp_path / "run", torch.float64)


def asked(run: Recorded, **options: Any) -> aadsl.Study:
    study = run.study(**options)
    for name, steps in STAGES.items():
        study.stage(name, steps)
    on = run.data[0][PROBES], run.data[1][PROBES]
    study.behavior("reading", "log_likelihood", on=on)
    study.behavior("right", "accuracy", on=on)
    return study


@pytest.fixture
def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step that is computed from now on, whoever computes it."""
    taken: list[int] = []
    honest = StepMap.evaluate

    def counted(self: StepMap, state: Any, step: Any) -> Any:
        taken.append(step.index)
        return honest(self, state, step)

    monkeypatch.setattr(StepMap, "evaluate", counted)
    return taken


def accuracy(net: nn.Module, run: Recorded) -> float:
    with torch.no_grad():
        return float((net(run.data[0][PROBES]).argmax(1) == run.data[1][PROBES]).double().mean())


@pytest.mark.parametrize("fresh", [False, True], ids=["same study", "another process's"])
def test_another_behavior_on_a_stage_asked_about_before_takes_no_step(
    run: Recorded, steps_taken: list[int], fresh: bool
) -> None:
    study = asked(run)
    study.score(list(STAGES), ["reading"], estimator="retraining")
    study = asked(run) if fresh else study
    steps_taken.clear()
    answer = study.score(list(STAGES), ["right"])
    assert steps_taken == []
    truth = [accuracy(run.net, run) - accuracy(run.retrained(steps), run) for steps in STAGES.values()]
    np.testing.assert_allclose(answer.effect.values[:, 0], truth)
    assert answer.exact.values.all()


def test_the_counterfactual_model_is_that_of_plain_pytorch(run: Recorded, steps_taken: list[int]) -> None:
    study = asked(run)
    for name, steps in STAGES.items():
        other = study.counterfactual(name)
        for own, wanted in zip(other.parameters(), run.retrained(steps).parameters(), strict=True):
            assert torch.equal(own, wanted)
        assert type(other) is type(run.net) and other is not run.net and not other.training
        assert all(p.requires_grad for p in other.parameters())
    both = study.counterfactual(["early", "last"])
    for own, wanted in zip(both.parameters(), run.retrained([1, 2, 3, STEPS - 1]).parameters(), strict=True):
        assert torch.equal(own, wanted)
    steps_taken.clear()
    study.score(["early"], ["reading"])
    asked(run).counterfactual("scattered")
    assert steps_taken == []


def test_the_buffers_and_frozen_weights_are_part_of_the_model(tmp_path: Path) -> None:
    """BatchNorm's statistics are those of the run without the stage; what was frozen is as it was given."""
    torch.manual_seed(1)
    x, y = torch.randn(60, 4), torch.randint(0, 3, (60,))

    def network() -> nn.Sequential:
        torch.manual_seed(2)
        net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
        net[0].requires_grad_(False)
        return net

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def train(net: nn.Module, skipped: set[int], recorder: aadsl.Recorder | None = None) -> nn.Module:
        optimizer = opt if recorder else torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
        for t in range(6):
            if t not in skipped:
                rows = list(range(10 * t, 10 * t + 10))
                optimizer.zero_grad()
                loss(net, (x[rows], y[rows])).backward()
                if recorder:
                    recorder.batch(indices=rows)
                optimizer.step()
        return net

    net = network()
    opt = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    with aadsl.Recorder(tmp_path / "run", net, opt, data=(x, y)) as recorder:
        train(net, set(), recorder)
    study = aadsl.Study(aadsl.open_trajectory(tmp_path / "run"), model=net, loss=loss, data=(x, y), device="cpu")
    study.stage("some", [1, 4])
    other, wanted = study.counterfactual("some"), train(network(), {1, 4})
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert not torch.equal(other.state_dict()["1.running_mean"], net.state_dict()["1.running_mean"])


def test_an_interrupted_answer_keeps_every_stage_that_was_done(run: Recorded, steps_taken: list[int]) -> None:
    def interrupted(what: str, done: int, total: int) -> None:
        if models(run):  # in the run of the second stage
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(run).retrain(list(STAGES), ["reading"], progress=interrupted)
    steps_taken.clear()
    asked(run).retrain(["early"], ["reading", "right"])
    assert steps_taken == []
    assert len(models(run)) == 1


def test_what_was_compared_once_is_not_compared_again(run: Recorded, steps_taken: list[int]) -> None:
    asked(run).retrain(["last"], ["reading"])
    late = len(steps_taken)
    asked(run).retrain(["early"], ["reading"])
    steps_taken.clear()
    study = asked(run)
    study.stage("other", [4])
    study.retrain(["other"], ["reading"])
    assert sorted(steps_taken) == sorted([*range(4), *range(5, STEPS)][-len(steps_taken) :])
    assert late and len(steps_taken) <= STEPS - 1


def models(run: Recorded) -> list[Path]:
    return sorted(Path(f"{run.path}.effects").glob("model-*.nc"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_model_is_trained_again(run: Recorded, damage: str) -> None:
    asked(run).retrain(list(STAGES), ["reading"])
    for path in models(run):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes({"cut": content[:-100], "flipped": content, "empty": b""}[damage])
    answer = asked(run).score(["early"], ["right"])
    truth = accuracy(run.net, run) - accuracy(run.retrained(STAGES["early"]), run)
    assert answer.effect.item() == pytest.approx(truth, abs=1e-12)


def test_models_take_no_more_room_than_they_may(run: Recorded) -> None:
    asked(run).retrain(["early"], ["reading"])
    (first,) = models(run)
    size = first.stat().st_size
    study = asked(run, kept=int(2.5 * size))
    assert f"of {int(2.5 * size) / 1e3:.0f} kB" in str(study.plan(["early"], ["reading"]))
    os.utime(first, (1, 1))  # long ago
    study.counterfactual("last")
    assert len(models(run)) == 2
    os.utime(next(path for path in models(run) if path != first), (2, 2))
    study.counterfactual("early")  # used now
    study.counterfactual("scattered")
    assert len(models(run)) == 2 and first in models(run)
    asked(run, kept=size // 2).counterfactual(["early", "last"])
    assert all(path.stat().st_size <= size for path in models(run))


def test_a_folder_that_cannot_be_written_loses_no_answer(run: Recorded) -> None:
    Path(f"{run.path}.effects").write_text("in the way")
    assert np.abs(asked(run).retrain(["early"], ["reading"]).effect).item() > 0


def test_another_run_is_not_answered_by_its_models(run: Recorded, steps_taken: list[int]) -> None:
    asked(run).counterfactual("early")
    steps_taken.clear()
    other = asked(
        run, loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="mean")
    )
    other.counterfactual("early")
    assert len(steps_taken) >= STEPS - 4


def test_where_replays_round_otherwise_a_control_run_tells_the_noise(run: Recorded, monkeypatch: Any) -> None:
    """A replay that is off by a little: effects are differences to the run without any change."""
    honest = StepMap.evaluate

    def off(self: StepMap, state: Any, step: Any) -> Any:
        evaluation = honest(self, state, step)
        return evaluation._replace(gradient=evaluation.gradient * (1 + 1e-9))

    clean = asked(run).retrain(["early"], ["reading"]).effect.item()
    for path in models(run):
        path.unlink()
    monkeypatch.setattr(StepMap, "evaluate", off)
    study = asked(run, kept="1 MiB", loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
    answer = study.retrain(["early"], ["reading"])
    assert answer.effect.item() == pytest.approx(clean, rel=1e-6)
    assert 0 < answer.noise.item() < 1e-6
    assert answer.trust.item() == "high" and "without any change" in answer.trust_reason.item()
    again = study.score(["early"], ["right"])  # read off the kept model and its kept control run
    truth = accuracy(run.net, run) - accuracy(run.retrained(STAGES["early"]), run)
    assert again.noise.item() == 0 and again.effect.item() == pytest.approx(truth, abs=1e-12)


def test_only_the_missing_stages_are_trained(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    honest = ExactAnswers.answer

    def watched(self: ExactAnswers, identity: Any, query: Any, *rest: Any, **more: Any) -> Any:
        seen.append(int(self.to_train(identity, query).sum()))
        return honest(self, identity, query, *rest, **more)

    monkeypatch.setattr(ExactAnswers, "answer", watched)
    study = asked(run)
    study.retrain(["early", "last"], ["reading"])
    study.retrain(list(STAGES), ["reading"])
    study.retrain(list(STAGES), ["reading", "right"])
    assert seen == [2, 1, 0]


def test_a_behavior_that_fails_on_a_counterfactual_model_says_on_which(run: Recorded) -> None:
    study = asked(run)
    final = run.net[0].weight.detach().clone()

    def fragile(model: nn.Module, examples: tuple[Tensor, Tensor]) -> Tensor:
        fine = torch.equal(next(model.parameters()), final)
        return torch.full((len(examples[0]),), 1.0 if fine else float("nan"))

    study.behavior("fragile", fragile, on=(run.data[0][PROBES], run.data[1][PROBES]))
    with pytest.raises(
        AadslError, match=r"fragile.* is not a finite number .* trained without the 3 steps from 1 to 3"
    ):
        study.score(["early"], ["fragile"])
