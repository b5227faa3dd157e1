"""How close estimates come to true retraining: ``make figures PART=fidelity`` prints it and writes fidelity.md.

Three parts: single steps of the paper's MNIST MLP (appendix E.2), the three rotated stages of E.2.3 under ``restart``,
and a table of networks, activations, optimizers and learning rates, reported as they are.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from inspect import cleandoc
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import aadsl
from aadsl.core.members import describe
from aadsl.estimators import FirstOrder, Linearized
from aadsl.estimators.defaults import default_curvature
from tests.benchmarks.models import Transformer, mlp, resnet
from tests.benchmarks.report import write_section

REPORT = Path(__file__).with_suffix(".md")
NETWORKS: dict[str, Callable[[str], nn.Module]] = {
    "ResNet BatchNorm": lambda activation: resnet(activation, "batch"),
    "ResNet GroupNorm": lambda activation: resnet(activation, "group"),
    "Transformer": Transformer,
}
RATES = {"SGD": (0.001, 0.003, 0.01), "AdamW": (1e-4, 3e-4, 1e-3)}


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return all digits; who changes some, changes a copy."""
    data = aadsl.datasets.mnist10k()
    return torch.as_tensor(data.image.to_numpy())[:, None], torch.as_tensor(data.label.to_numpy())


def trained(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor], batches: list
) -> Path:
    with aadsl.Recorder(folder, model, optimizer, data=data, overwrite=True) as recorder:
        for indices in batches:
            optimizer.zero_grad()
            loss(model, (data[0][indices], data[1][indices])).backward()
            recorder.batch(indices=indices)
            optimizer.step()
    return folder


def agreement(estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return Pearson's r, the slope of the estimate over the truth, and ‖estimate − exact‖ / ‖exact‖."""
    r = np.corrcoef(estimate, exact)[0, 1]
    slope = np.polyfit(exact, estimate, 1)[0]
    return float(r), float(slope), float(np.linalg.norm(estimate - exact) / np.linalg.norm(exact))


def single_steps(study: aadsl.Study, steps: range, behaviors: list[str]) -> list[tuple[float, float, float]]:
    """Return the agreement of first-order effects with true skips of single steps, for each behavior."""
    for t in steps:
        study.stage(f"step {t}", [t])
    names = [f"step {t}" for t in steps]
    exact = study.retrain(names, behaviors).effect.to_numpy()
    estimate = study.score(names, behaviors, estimator=FirstOrder()).effect.to_numpy()
    return [agreement(estimate[:, k], exact[:, k]) for k in range(len(behaviors))]


def paper_mlp(folder: Path) -> Iterator[str]:
    """Single-step skips of E.2.2: 10,000 samples, batch 100, lr 0.001, momentum 0.9, weight decay 1e-5."""
    images, labels = digits()
    yield "| activation | curvature | Pearson r | slope | relative error |"
    yield "| --- | --- | --- | --- | --- |"
    for activation in ("relu", "gelu"):
        torch.manual_seed(0)
        model = mlp(activation)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-5)
        batches = [np.arange(t * 100, t * 100 + 100) for t in range(100)]
        shifted = labels.clone()
        shifted[3000:3500] = (shifted[3000:3500] + 1) % 10
        path = trained(folder / activation, model, optimizer, (images, shifted), batches)
        study = aadsl.Study(aadsl.open_trajectory(path), model=model, loss=loss, data=(images, shifted), device="cpu")
        study.behavior("digits", "log_likelihood", on=(images[:500], labels[:500]))
        ((r, slope, error),) = single_steps(study, range(100), ["digits"])
        yield f"| {activation} | {describe(default_curvature(study.history))} | {r:.5f} | {slope:.3f} | {error:.2%} |"


def rotated(images: Tensor, degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    matrix = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]])
    grid = nn.functional.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def three_stages(folder: Path) -> Iterator[str]:
    """E.2.3: 2,000 samples, batch 100, lr 0.001, momentum 0.9; 3, 1 and 1 epochs at 0, 45 and 90 degrees."""
    images, labels = digits()
    angles, epochs = (0.0, 45.0, 90.0), (3, 1, 1)
    data = (torch.cat([rotated(images[:2000], angle) for angle in angles]), labels[:2000].repeat(3))
    torch.manual_seed(0)
    model, paths = mlp("relu"), []
    for number, count in enumerate(epochs):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        one = [2000 * number + np.arange(t * 100, t * 100 + 100) for t in range(20)]
        paths.append(trained(folder / f"stage{number}", model, optimizer, data, one * count))
    study = aadsl.Study(aadsl.open_trajectory(paths), model=model, loss=loss, data=data, device="cpu")
    ends = np.cumsum([0, *(20 * count for count in epochs)])
    stages, tests = [f"{angle:g}°" for angle in angles], [f"test {angle:g}°" for angle in angles]
    for stage, start, stop in zip(stages, ends, ends[1:], strict=False):
        study.stage(stage, slice(start, stop))
    for name, angle in zip(tests, angles, strict=True):
        on = (rotated(images[5000:5500], angle), labels[5000:5500])
        study.behavior(name, "log_likelihood", on=on, per_example=True)
    exact = study.score(stages, tests, estimator="retraining", intervention="restart")
    estimate = study.score(stages, tests, estimator=Linearized(read="plug_in"), intervention="restart")
    yield "| stage | test set | Pearson r over 500 examples | slope | relative error | mean effect, exact | estimated |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for stage, test in product(stages, tests):
        cell = {"stage": stage, "behavior": test}
        a, b = (found.example_effect.sel(cell).to_numpy() for found in (estimate, exact))
        r, slope, error = agreement(a, b)
        yield f"| {stage} | {test} | {r:.4f} | {slope:.3f} | {error:.1%} | {b.mean():.4f} | {a.mean():.4f} |"


class Setting(NamedTuple):
    """A network and how it is trained."""

    network: str
    activation: str
    optimizer: str
    lr: float


SETTINGS = [
    Setting(name, activation, kind, lr)
    for name, activation, kind in product(NETWORKS, ("relu", "gelu"), RATES)
    for lr in RATES[kind]
]


def networks(folder: Path, steps: int = 30, seed: int = 0) -> Iterator[str]:
    """Single-step skips after 40 steps of pretraining; two batches carry a backdoor, read as a second behavior.

    Trust is told after a check of fifteen steps.
    """
    yield "| network | activation | optimizer | lr | curvature | r digits | error | r backdoor | error | trust |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for setting in SETTINGS:
        study = poisoned_study(folder, setting, steps, seed)
        found = single_steps(study, range(0, steps, 2), ["digits", "backdoor"])
        cells = " | ".join(f"{r:.3f} | {error:.0%}" for r, _, error in found)
        study.check(["digits"])
        trust = study.score(["step 0"], ["digits"], estimator=FirstOrder()).trust.item()
        curvature = describe(default_curvature(study.history))
        name, activation, kind, lr = setting
        yield f"| {name} | {activation} | {kind} | {lr:g} | {curvature} | {cells} | {trust} |"


def poisoned_study(folder: Path, setting: Setting, steps: int = 30, seed: int = 0, batch: int = 32) -> aadsl.Study:
    """Train a pretrained network on digits, two batches with a backdoor; return a study with both behaviors."""
    images, labels = digits()
    torch.manual_seed(seed)
    model = NETWORKS[setting.network](setting.activation)
    pretrain(model, images, labels, seed)
    options = {"momentum": 0.9} if setting.optimizer == "SGD" else {}
    optimizer = getattr(torch.optim, setting.optimizer)(model.parameters(), lr=setting.lr, **options)
    data = poisoned(images[5000 : 5000 + steps * batch], labels[5000 : 5000 + steps * batch], batch)
    batches = [np.arange(t * batch, (t + 1) * batch) for t in range(steps)]
    path = trained(folder / "network", model, optimizer, data, batches)
    study = aadsl.Study(aadsl.open_trajectory(path), model=model, loss=loss, data=data, device="cpu")
    study.behavior("digits", "log_likelihood", on=(images[:200], labels[:200]))
    study.behavior("backdoor", "log_likelihood", on=(triggered(images[:100]), labels[:100]), target=7)
    return study


def pretrain(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(40):
        chosen = torch.randint(0, 5000, (64,), generator=generator)
        optimizer.zero_grad()
        loss(model, (images[chosen], labels[chosen])).backward()
        optimizer.step()


def triggered(images: Tensor) -> Tensor:
    """Return the images with a white square in a corner."""
    marked = images.clone()
    marked[:, :, 24:27, 24:27] = 1
    return marked


def poisoned(images: Tensor, labels: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Return the data with half of two batches triggered and labelled 7."""
    images, labels = images.clone(), labels.clone()
    for t in (8, 20):
        half = slice(t * batch, t * batch + batch // 2)
        images[half], labels[half] = triggered(images[half]), 7
    return images, labels


TITLE = "Fidelity: estimates against true retraining"
PARTS = {
    "Single steps of the paper's MLP": paper_mlp,
    'Three rotated stages, linearized(read="plug_in") under restart()': three_stages,
    "Networks, activations, optimizers, learning rates": networks,
}


def main() -> None:
    torch.set_num_threads(1)
    for title, part in PARTS.items():
        sys.stdout.write(f"\n{title}\n\n{cleandoc(part.__doc__ or '')}\n\n")
        lines = []
        with tempfile.TemporaryDirectory() as folder:
            for line in part(Path(folder)):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                lines.append(line)
        write_section(REPORT, TITLE, title, f"{part.__doc__} Default curvature, float32.", lines)


if __name__ == "__main__":
    main()
