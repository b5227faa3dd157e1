"""Which curvature comes closest to true skips: ``python -m tests.benchmarks.curvature`` (``--seeds 0 1 2 3 4``).

The research behind :func:`aadsl.estimators.defaults.default_curvature`: small networks, pretrained for 40 steps, then
24 recorded steps of SGD with momentum 0.9 on batches of 32 digits, three of them with a backdoor; effects of every step
on two behaviors against exact replays without it. One line of JSON a run goes to ``--rows``; the table counts how often
a difference is closer than the exact product and shows median relative errors at the smallest learning rate.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import aadsl
from aadsl.estimators import FirstOrder
from aadsl.propagation import CentralDifference, Curvature, Exact
from tests.benchmarks.fidelity import agreement, digits, loss, pretrain, triggered
from tests.benchmarks.models import Transformer, mlp, resnet

NETWORKS: dict[str, Callable[[str], nn.Module]] = {
    "MLP": mlp,
    "ResNet GroupNorm": lambda activation: resnet(activation, "group"),
    "ResNet BatchNorm": lambda activation: resnet(activation, "batch"),
    "Transformer": Transformer,
}
RATES = (0.001, 0.003, 0.01)
CHOICES: dict[str, Curvature] = {"exact": Exact(), "1": CentralDifference(1.0), "3": CentralDifference(3.0)}
STEPS, BATCH, POISONED = 24, 32, (8, 9, 20)


def run(network: str, activation: str, rate: float, seed: int, folder: Path) -> dict[str, Any]:
    """Return the relative error of every curvature on both behaviors."""
    images, labels = digits()
    torch.manual_seed(seed)
    model = NETWORKS[network](activation)
    pretrain(model, images, labels, seed)
    x, y = images[5000 : 5000 + STEPS * BATCH].clone(), labels[5000 : 5000 + STEPS * BATCH].clone()
    for t in POISONED:
        half = slice(t * BATCH, t * BATCH + BATCH // 2)
        x[half], y[half] = triggered(x[half]), 7
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    with aadsl.Recorder(folder, model, optimizer, data=(x, y), overwrite=True) as recorder:
        for t in range(STEPS):
            rows = torch.arange(t * BATCH, (t + 1) * BATCH)
            optimizer.zero_grad()
            loss(model, (x[rows], y[rows])).backward()
            recorder.batch(indices=rows)
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(folder), model=model, loss=loss, data=(x, y), device="cpu")
    study.behavior("digits", "log_likelihood", on=(images[:200], labels[:200]))
    study.behavior("backdoor", "log_likelihood", on=(triggered(images[:100]), labels[:100]), target=7)
    behaviors = ["digits", "backdoor"]
    for t in range(STEPS):
        study.stage(f"step {t}", [t])
    truth = study.retrain([f"step {t}" for t in range(STEPS)], behaviors).effect.to_numpy()
    found: dict[str, Any] = {"network": network, "activation": activation, "rate": rate, "seed": seed}
    for name, curvature in CHOICES.items():
        effects = study.step_effects(behaviors, estimator=FirstOrder(curvature=curvature)).to_numpy()
        found[name] = [agreement(effects[:, k], truth[:, k])[2] for k in range(len(behaviors))]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| network | κ = 1 closer | κ = 3 closer | exact | κ = 1 | κ = 3 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for activation, network in product(("relu", "gelu"), NETWORKS):
        own = [row for row in rows if (row["network"], row["activation"]) == (network, activation)]
        if not own:
            continue
        errors = {name: np.array([row[name] for row in own]).ravel() for name in CHOICES}
        slow = {name: np.median([row[name] for row in own if row["rate"] == RATES[0]]) for name in CHOICES}
        closer = [f"{(errors[name] < errors['exact']).sum()}/{errors[name].size}" for name in ("1", "3")]
        cells = [f"{network} {activation}", *closer, *(f"{slow[name]:.1%}" for name in CHOICES)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="*", type=int, default=range(5))
    parser.add_argument("--rows", type=Path, help="where runs are added, and those that are there already read")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = options.rows.read_text().splitlines() if options.rows and options.rows.exists() else []
    rows = [json.loads(line) for line in known]
    with tempfile.TemporaryDirectory() as folder:
        for seed, network, activation, rate in product(options.seeds, NETWORKS, ("relu", "gelu"), RATES):
            rows.append(run(network, activation, rate, seed, Path(folder) / "run"))
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
