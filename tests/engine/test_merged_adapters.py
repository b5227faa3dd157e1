"""Chains of runs in which adapters are merged into the weights that the next run begins with, against plain loops."""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import deepcopy
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

LENGTH = 3  # steps of a run
generator = torch.Generator().manual_seed(2)
X = torch.randn(60, 4, generator=generator, dtype=torch.float64)
Y = torch.randint(0, 3, (60,), generator=generator)


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


class PeftLayer(nn.Module):
    """A linear layer with an adapter, by the names that PEFT gives."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer, self.scaling = base.requires_grad_(False), {"default": 1.5}
        a = nn.Linear(base.in_features, 2, bias=False, dtype=torch.float64)
        b = nn.Linear(2, base.out_features, bias=False, dtype=torch.float64)
        nn.init.normal_(b.weight, std=0.1)
        self.lora_A, self.lora_B = nn.ModuleDict({"default": a}), nn.ModuleDict({"default": b})

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x)) * self.scaling["default"]

    def merged(self) -> nn.Module:
        delta = self.lora_B["default"].weight @ self.lora_A["default"].weight * self.scaling["default"]
        self.base_layer.weight.data += delta.detach()
        return self.base_layer


class Saved(nn.Module):
    """A module that is trained as a whole, by the names that PEFT gives."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.original_module, self.modules_to_save = module, nn.ModuleDict({"default": deepcopy(module)})
        self.original_module.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.modules_to_save["default"](x)


class Holder(nn.Module):
    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return next(self.children())(x)


def peft(model: nn.Module, seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    model[0], model[2] = PeftLayer(model[0]), Saved(model[2])
    return Holder(base_model=Holder(model=model))


def unloaded(model: nn.Module) -> nn.Module:
    """The model without adapters, as ``merge_and_unload`` returns it."""
    inner = model.base_model.model
    inner[0], inner[2] = inner[0].merged(), inner[2].modules_to_save["default"]
    return inner.requires_grad_()


def again(model: nn.Module) -> nn.Module:
    """With another adapter beside the merged weight."""
    return peft(unloaded(model), seed=4)


class ByHand(nn.Module):
    """x·W + 2 x·A·B, square, so that shapes do not tell the order of the factors."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.frozen = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(4, 2, dtype=torch.float64))
        self.up = nn.Parameter(torch.randn(2, 5, dtype=torch.float64) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + 2.0 * x @ self.down @ self.up


def adapted_by_hand(model: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(ByHand(model[0]), *model[1:])


def absorbed(model: nn.Module) -> nn.Module:
    """Rounded otherwise than is done here."""
    layer = model[0]
    layer.frozen.weight.data += ((2.0 * layer.down) @ layer.up).T.detach()
    return nn.Sequential(layer.frozen, *model[1:]).requires_grad_()


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def likely(model: nn.Module, batch: Any) -> Tensor:
    return -nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def value(model: nn.Module) -> float:
    with torch.no_grad():
        return likely(model, (X[:9], Y[:9])).mean().item()


Step = Callable[[nn.Module], nn.Module]
MERGED = {"merged": aadsl.lora_merged()}
CASES: dict[str, tuple[dict[str, Step], dict[str, Any]]] = {
    "PEFT, then all of it": ({"adapted": peft, "merged": unloaded}, MERGED),
    "PEFT, then another adapter": ({"adapted": peft, "merged": again}, MERGED),
    "twice": ({"adapted": peft, "merged": again, "last": unloaded}, MERGED | {"last": aadsl.lora_merged()}),
    "after pretraining": ({"pretrain": lambda model: model, "adapted": peft, "merged": again}, MERGED),
    "by hand": (
        {"adapted": adapted_by_hand, "merged": absorbed},
        {"merged": [aadsl.lora_merged(a="down", b="up", weight="frozen.weight", scale=2)]},
    ),
}


class Loops:
    """The runs of a case, as plain loops."""

    def __init__(self, name: str) -> None:
        self.steps, self.joins = CASES[name]
        self.models: dict[str, nn.Module] = {}  # as each run had it when it began

    def trained(self, skipped: Collection[int] = (), folder: Path | None = None, factor: float = 1.0) -> nn.Module:
        """Train, with the learning rate of step 1 multiplied by a factor."""
        model = plain()
        for number, (name, made) in enumerate(self.steps.items()):
            model = made(model)
            model.zero_grad()  # what is frozen from now on has none that would be clipped
            if folder:
                self.models[name] = deepcopy(model)
            optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05, eps=1e-3)
            recorder = aadsl.Recorder(folder / name, model, optimizer, clip=0.5) if folder else None
            for step in range(LENGTH * number, LENGTH * (number + 1)):
                batch = X[5 * step : 5 * step + 5], Y[5 * step : 5 * step + 5]
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
        return model

    def studied(self, folder: Path, **other: Any) -> aadsl.Study:
        trajectory = aadsl.open_trajectory([folder / name for name in self.steps])
        given = {"model": self.models, "loss": loss, "device": "cpu", "joins": self.joins} | other
        study = aadsl.Study(trajectory, **given)
        study.behavior("likely", likely, on=(X[:9], Y[:9]))
        study.behavior("each", likely, on=(X[:9], Y[:9]), per_example=True)
        return study


@pytest.mark.parametrize("name", CASES)
def test_effects_go_on_in_the_merged_weights(tmp_path: Path, name: str) -> None:
    loops = Loops(name)
    end = value(loops.trained(folder=tmp_path))
    study = loops.studied(tmp_path)
    assert "every bit the same" in str(study.verify_trajectory(samples=50)), study.verify_trajectory()
    stages = {"first": [1, 2], "boundary": [2, 3], "second": [3], "all": [*range(LENGTH)]}
    for stage, steps in stages.items():
        study.stage(stage, steps)
    truth = np.array([end - value(loops.trained(steps)) for steps in stages.values()])
    assert np.abs(truth).min() > 1e-4
    answer = study.retrain([*stages], ["likely"])
    assert np.allclose(answer.effect.values[:, 0], truth, rtol=0, atol=1e-10) and (answer.trust.values == "high").all()
    assert value(study.counterfactual("first")) == pytest.approx(value(loops.trained([1, 2])), abs=1e-10)
    adjoint = study.score([*stages], ["likely"], estimator="first_order").effect.values[:, 0]
    tangent = study.score([*stages], ["each"], estimator="first_order").example_effect.mean("example").values[:, 0]
    assert adjoint == pytest.approx(tangent, rel=1e-9)
    study.stage("one", [1])
    slower = INTERVENTIONS["scale_lr"](factor=1 - 1e-3)
    slope = study.score("one", "likely", estimator="first_order", intervention=slower).effect.item()
    central = (value(loops.trained(factor=1 + 1e-3)) - value(loops.trained(factor=1 - 1e-3))) / 2
    assert slope == pytest.approx(central, rel=1e-4) and abs(central) > 1e-6


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loops, Path]:
    loops, folder = Loops("PEFT, then all of it"), tmp_path_factory.mktemp("runs")
    loops.trained(folder=folder)
    return loops, folder


def test_what_cannot_be_merged_is_refused(adapted: tuple[Loops, Path]) -> None:
    loops, folder = adapted
    models, merged = loops.models, aadsl.lora_merged

    def refused(words: str, **other: Any) -> None:
        with pytest.raises(aadsl.AadslError, match=words):
            loops.studied(folder, **other)

    refused(r"off by up to.*\n.*the scale was 1; 1.5 fits", joins={"merged": merged(scale=1)})
    refused('trained no "down" and "up" that could be merged', joins={"merged": merged(a="down", b="up")})
    refused('which weight do .*lora_A.*\n.*lora_merged.weight="base', joins={"merged": merged(weight="inner.weight")})
    refused(r"has no weight of the shape \(5, 4\).*\n.*lora_merged.into", joins={"merged": merged(into="inner")})
    refused("is the first run", joins={"adapted": merged()})
    refused("says not how a run begins", joins={"merged": [merged(), "head.*"]})
    after, without = deepcopy(models["adapted"]), deepcopy(models["adapted"])
    after.base_model.model[0].merged()
    refused("model given for adapted has another .*base_layer.weight", model=models | {"adapted": after})
    without.base_model.model[0].scaling = None
    refused("cannot be read off their layer", model=models | {"adapted": without})
    with pytest.raises(aadsl.AadslError, match="two factors"):
        merged(a="down")


def asked_of_two(folder: Path, model: nn.Module, made: tuple[Step, Step], **given: Any) -> aadsl.Study:
    """Record two runs of a step each."""
    models = {}
    for name, change in zip(("adapted", "merged"), made, strict=True):
        model = change(model)
        models[name] = deepcopy(model)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        with aadsl.Recorder(folder / name, model, optimizer) as recorder:
            recorder.batch((X[:5], Y[:5]))
            loss(model, (X[:5], Y[:5])).backward()
            optimizer.step()
    trajectory = aadsl.open_trajectory([folder / name for name in models])
    return aadsl.Study(trajectory, model=models, loss=loss, device="cpu", **given)


def test_a_chain_that_loses_adapters_is_told_of(adapted: tuple[Loops, Path], tmp_path: Path) -> None:
    """By PEFT's names the weights are not where they were left; by others nothing is in the later model at all."""
    loops, folder = adapted
    report = loops.studied(folder, joins=None).verify_trajectory()
    assert not report.ok and "were adapters merged into them?" in str(report)
    hand = Loops("by hand")
    hand.trained(folder=tmp_path)
    (note,) = hand.studied(tmp_path, joins=None).notes
    assert note.startswith('"0.down", "0.up": not in the model of merged, so that no effect')
    alone = nn.Sequential(nn.Linear(4, 5)).double()
    with pytest.raises(
        aadsl.AadslError, match=r"nothing that was trained before is in the model of merged\n.*lora_merged"
    ):
        asked_of_two(tmp_path / "two", alone, (adapted_by_hand, absorbed))


def test_a_run_that_was_sent_begins_so_too(adapted: tuple[Loops, Path]) -> None:
    loops, folder = adapted
    study = loops.studied(folder)
    spec = RunSpec(study.trajectory, study.history.models.given, loss, device="cpu")
    there = unpickled(pickled(spec), "the run").history()
    assert torch.equal(there.final.parameters, study.history.final.parameters)
    assert there.trajectory.chain.merged == study.trajectory.chain.merged != ()


def test_the_shipped_model_may_have_all_adapters_merged(tmp_path: Path) -> None:
    loops = Loops("PEFT, then another adapter")
    end = loops.trained(folder=tmp_path)
    study = loops.studied(tmp_path, final=unloaded(deepcopy(end)))
    study.stage("first", [1, 2])
    truth = value(end) - value(loops.trained([1, 2]))
    assert study.retrain("first", "likely").effect.item() == pytest.approx(truth, abs=1e-10)


def test_statistics_under_two_names_are_refused(tmp_path: Path) -> None:
    """A batch normalization is called otherwise in the model without adapters."""
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    with pytest.raises(aadsl.AadslError, match=r"base_model.model.1.running_mean. moved.*is .1.running_mean"):
        asked_of_two(tmp_path, model, (peft, unloaded), joins=MERGED)
