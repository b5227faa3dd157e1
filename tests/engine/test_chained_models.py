"""Chains of runs with models and losses of their own, against plain loops; several heads, several vocabularies."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.interventions import INTERVENTIONS
from aadsl.replayed.parcels import pickled, unpickled
from aadsl.replayed.run_spec import RunSpec

LENGTH = 4  # steps of a run
generator = torch.Generator().manual_seed(1)
TOKENS = torch.randint(0, 5, (80, 3), generator=generator)
LABELS = torch.randint(0, 2, (80,), generator=generator)
SEEN = (TOKENS[:9] + (torch.arange(9)[:, None] > 4), LABELS[:9])  # tokens 0 … 5, of which the first run knows 0 … 4


class Reader(nn.Module):
    """A mean of embeddings, a layer, a head; heads of other sizes are called alike."""

    def __init__(self, tokens: int, classes: int) -> None:
        super().__init__()
        torch.manual_seed(tokens + classes)
        self.embed, self.body = nn.Embedding(tokens, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, classes)
        self.double()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(self.embed(tokens).mean(1))))


def first_model() -> nn.Module:
    return Reader(5, 3)


def second_model() -> nn.Module:
    return Reader(6, 2)


def first_loss(model: nn.Module, batch: Any) -> Tensor:
    return model(batch[0]).square().mean() + nn.functional.cross_entropy(model(batch[0]), batch[1])


def second_loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)


def likely(model: nn.Module, batch: Any) -> Tensor:
    return -nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def value(model: nn.Module) -> float:
    with torch.no_grad():
        return likely(model, SEEN).mean().item()


def carried(model: nn.Module) -> nn.Module:
    """A model with more tokens and a new head, which goes on with what one has learned."""
    larger = second_model()
    with torch.no_grad():
        larger.embed.weight[:5] = model.embed.weight
        larger.body.load_state_dict(model.body.state_dict())
    return larger


def run(
    model: nn.Module, loss: Any, first: int, skipped: Collection[int], folder: Path | None, factor: float = 1.0
) -> None:
    """Train, with the learning rate of step 1 multiplied by a factor."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, eps=1e-3)
    recorder = aadsl.Recorder(folder, model, optimizer, clip=0.5) if folder else None
    for step in range(first, first + LENGTH):
        part = slice(5 * step, 5 * step + 5)
        batch = (TOKENS[part] + (first > 0) * (step % 2), LABELS[part])
        if step not in skipped:
            optimizer.zero_grad()
            loss(model, batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.param_groups[0]["lr"] = 0.05 * (factor if step == 1 else 1.0)
            if recorder:
                recorder.batch(batch)
            optimizer.step()
    if recorder:
        recorder.close()


def trained(skipped: Collection[int] = (), folder: Path | None = None, factor: float = 1.0) -> nn.Module:
    small = first_model()
    run(small, first_loss, 0, skipped, folder and folder / "pretrain", factor)
    large = carried(small)
    run(large, second_loss, LENGTH, skipped, folder and folder / "finetune")
    return large


STAGES = {"pretraining": [1, 2], "boundary": [3, 4], "first": [4], "later": [6]}
GIVEN: dict[str, Any] = {
    "model": {"pretrain": first_model, "finetune": second_model},
    "loss": {"pretrain": first_loss, "finetune": second_loss},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    trained(folder=folder)
    return folder


def opened(folder: Path) -> aadsl.Trajectory:
    return aadsl.open_trajectory([folder / "pretrain", folder / "finetune"])


def studied(folder: Path) -> aadsl.Study:
    study = aadsl.Study(opened(folder), **GIVEN, device="cpu")
    study.behavior("likely", likely, on=SEEN)
    for name, steps in STAGES.items():
        study.stage(name, steps)
    return study


def test_what_has_another_shape_is_another_parameter(folder: Path) -> None:
    trajectory = opened(folder)
    shapes = {name: spec.shape for name, spec in trajectory.parameters.items()}
    assert shapes["head.weight"] == (2, 4) and shapes["head.weight@pretrain"] == (3, 4)
    assert shapes["embed.weight"] == (6, 4) and shapes["embed.weight@pretrain"] == (5, 4)
    assert [(one.step, one.before, one.name) for one in trajectory.chain.resized] == [
        (LENGTH, "embed.weight@pretrain", "embed.weight")
    ]
    report = trajectory.verify(**GIVEN, samples=50, device="cpu")
    assert report.ok and "8 steps" in str(report) and "every bit the same" in str(report), report


def test_exact_answers_are_those_of_the_loops(folder: Path) -> None:
    study = studied(folder)
    truth = np.array([value(trained()) - value(trained(steps)) for steps in STAGES.values()])
    assert np.abs(truth).min() > 1e-4
    answer = study.retrain([*STAGES], ["likely"])
    assert np.allclose(answer.effect.values[:, 0], truth, rtol=0, atol=1e-12) and (answer.trust.values == "high").all()
    (note,) = study.notes
    assert note.startswith('"head.bias", "head.weight": begun anew at step 4')
    without = study.counterfactual("pretraining")
    assert isinstance(without, Reader) and value(without) == pytest.approx(value(trained([1, 2])), abs=1e-12)


def test_effects_propagate_through_what_both_have(folder: Path) -> None:
    """⟨u_0, d⟩ and γ of plain trainings from θ_0 ± hd; the two directions; no code of ours in the truth."""
    study = studied(folder)
    adjoint = study.score([*STAGES], ["likely"], estimator="first_order").effect.values[:, 0]
    study.behavior("each", likely, on=SEEN, per_example=True)
    tangent = study.score([*STAGES], ["each"], estimator="first_order").example_effect.mean("example").values[:, 0]
    assert adjoint == pytest.approx(tangent, rel=1e-9)
    assert slowed(study) == pytest.approx(central(lambda factor: value(trained(factor=factor))), rel=1e-4)


def slowed(study: aadsl.Study) -> float:
    """The estimated effect of a learning rate that is larger by a thousandth in step 1."""
    study.stage("one", [1])
    slower = INTERVENTIONS["scale_lr"](factor=1 - 1e-3)
    return float(study.score("one", "likely", estimator="first_order", intervention=slower).effect.item())


def central(of: Callable[[float], float]) -> float:
    """The same by plain loops."""
    difference = (of(1 + 1e-3) - of(1 - 1e-3)) / 2
    assert abs(difference) > 1e-6
    return difference


def test_a_run_that_was_sent_has_its_models(folder: Path) -> None:
    study = studied(folder)
    models = study.history.models
    spec = RunSpec(study.trajectory, models.given, GIVEN["loss"], device="cpu")
    there = unpickled(pickled(spec), "the run").history()
    assert torch.equal(there.final.parameters, study.history.final.parameters)
    assert [type(one) for one in there.private_models] == [Reader] * 2


def test_what_is_missing_is_said(folder: Path) -> None:
    def refused(words: str, **given: Any) -> None:
        with pytest.raises(aadsl.AadslError, match=words):
            aadsl.Study(opened(folder), **GIVEN | given, device="cpu")

    refused(r'"embed.weight" has the shape \(5, 4\).*\n?.*model={"pretrain": …, "finetune": …}', model=second_model())
    refused("loss={…} names none for the run finetune", loss={"pretrain": first_loss})
    refused('no run is named "pretraining"|is named .pretraining.', model={"pretraining": first_model})
    refused("holds a int, no model", model={"pretrain": 1, "finetune": second_model})
    refused(
        r'"embed.weight" has shape \(6, 4\) in the model', model={"pretrain": second_model, "finetune": second_model}
    )


def test_one_model_with_a_loss_for_each_run(tmp_path: Path) -> None:
    def other(model: nn.Module, batch: Any) -> Tensor:
        return 2 * nn.functional.cross_entropy(model(batch[0]), 1 - batch[1])

    def trained_so(skipped: Collection[int] = (), folder: Path | None = None, factor: float = 1.0) -> nn.Module:
        model = second_model()
        for number, loss in enumerate((second_loss, other)):
            run(model, loss, number * LENGTH, skipped, folder and folder / str(number), factor)
        return model

    trained_so(folder=tmp_path)
    trajectory = aadsl.open_trajectory([tmp_path / "0", tmp_path / "1"])
    given = {"model": second_model(), "loss": {"0": second_loss, "1": other}, "device": "cpu"}
    assert trajectory.verify(**given, samples=50).ok
    assert not trajectory.verify(**given | {"loss": second_loss}, samples=50).ok
    study = aadsl.Study(trajectory, **given)
    study.behavior("likely", likely, on=SEEN)
    study.stage("early", [1, 2])
    truth = value(trained_so()) - value(trained_so([1, 2]))
    assert study.retrain("early", "likely").effect.item() == pytest.approx(truth, abs=1e-12) and abs(truth) > 1e-4
    assert slowed(study) == pytest.approx(central(lambda factor: value(trained_so(factor=factor))), rel=1e-4)


def test_a_new_head_of_the_same_size_is_said_to_be_one(tmp_path: Path) -> None:
    def trained_so(skipped: Collection[int] = (), folder: Path | None = None, factor: float = 1.0) -> nn.Module:
        model = second_model()
        for number in range(2):
            if number:
                torch.manual_seed(5)
                model.head.load_state_dict(nn.Linear(4, 2).state_dict())
            run(model, second_loss, number * LENGTH, skipped, folder and folder / str(number), factor)
        return model

    trained_so(folder=tmp_path)
    trajectory = aadsl.open_trajectory([tmp_path / "0", tmp_path / "1"])
    given: dict[str, Any] = {"model": second_model(), "loss": second_loss, "device": "cpu"}
    assert "did not begin where" in str(aadsl.Study(trajectory, **given).verify_trajectory())
    study = aadsl.Study(trajectory, **given, joins={"1": aadsl.fresh("head.*")})
    assert not trajectory.verify(**given, samples=50).ok
    assert trajectory.verify(**given, samples=50, joins={"1": aadsl.fresh("head.*")}).ok
    assert study.verify_trajectory(samples=50).ok and "head.weight@0" in study.trajectory.parameters
    study.behavior("likely", likely, on=SEEN)
    study.stage("early", [1, 2])
    truth = value(trained_so()) - value(trained_so([1, 2]))
    assert study.retrain("early", "likely").effect.item() == pytest.approx(truth, abs=1e-12) and abs(truth) > 1e-4
    assert slowed(study) == pytest.approx(central(lambda factor: value(trained_so(factor=factor))), rel=1e-4)
    with pytest.raises(aadsl.AadslError, match=r'trained no parameter "haed\.\*"'):
        aadsl.Study(trajectory, **given, joins={"1": aadsl.fresh("haed.*")})
    with pytest.raises(aadsl.AadslError, match="says not how a run begins"):
        aadsl.Study(trajectory, **given, joins={"1": "head.*"})
