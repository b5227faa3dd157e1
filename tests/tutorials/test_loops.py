"""Each loop of ``tutorials/loops`` verifies, and its exact answer is that of the same loop, ended an epoch earlier.

Where the model decides what comes next, it is that of the loop without its first epoch.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.interventions import INTERVENTIONS
from tests.processes import in_two_processes

ROOT = Path(__file__).parents[2]
LOOPS = sorted((ROOT / "tutorials" / "loops").glob("*.py"))
TOGETHER = {"data_parallel"}
"""Those that several processes run."""
IMAGES = torch.tensor(aadsl.datasets.mnist10k().image.values[9000:9050])
TOKENS = torch.arange(60).view(2, 30) + 2
LANGUAGE = {"supervised_fine_tuning"}
"""Those that train a language model."""


def trained_together(rank: int, file: Path, folder: Path) -> None:
    train = runpy.run_path(str(file))["train"]
    models = train(folder / "run"), train(folder / "short", epochs=1)
    if rank == 0:
        torch.save(models, folder / "models.pt")


def read(model: nn.Module, batch: Any) -> Tensor:
    outputs = model(batch[0])
    scores: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits[:, -1]
    return scores[:, 3]


@pytest.mark.filterwarnings("ignore")  # of the libraries; and that batches are stored is told
@pytest.mark.parametrize("file", LOOPS, ids=lambda file: file.stem)
def test_it_is_replayed_and_answered_for(file: Path, tmp_path: Path) -> None:
    loop = runpy.run_path(str(file))
    anew = "RERUN" in loop
    if file.stem in TOGETHER:
        in_two_processes(trained_together, tmp_path, file, tmp_path)
        model, before = torch.load(tmp_path / "models.pt", weights_only=False)
    else:
        model = loop["train"](tmp_path / "run")
        before = loop["train"](tmp_path / "short", **({"left_out": range(12)} if anew else {"epochs": 1}))
    given = {"model": model, "loss": loop.get("loss_fn"), "data": loop["DATA"], "device": "cpu"} | loop.get("ASKED", {})
    study = aadsl.Study(aadsl.open_trajectory(tmp_path / "run"), **given)
    report = study.verify_trajectory()
    assert report.ok, report
    study.stage("epoch", study.steps["epoch"] // 1 == (0 if anew else 1))  # a Trainer's are fractions
    probes = (TOKENS if file.stem in LANGUAGE else IMAGES,)
    study.behavior("three", read, on=probes)
    asked = {"intervention": INTERVENTIONS["rerun"](**loop["RERUN"])} if anew else {}
    answer = study.score(["epoch"], ["three"], **asked)
    assert answer.exact.values.all()
    if anew:
        assert answer.trust.item() == "high" and answer.effect.item() != study.score(["epoch"], ["three"]).effect.item()
    with torch.no_grad():
        truth = read(model.eval(), probes).mean() - read(before.eval(), probes).mean()
    assert answer.effect.item() == pytest.approx(float(truth), abs=2e-6) != 0
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 50


def test_the_readme_has_a_line_for_each() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert LOOPS and all(f"(tutorials/loops/{file.name})" in text for file in LOOPS)
