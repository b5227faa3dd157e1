"""The README keeps its word: its example runs as printed, its commands and links exist, its programs run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import aadsl

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(kind: str) -> str:
    """Return the README's one code block of a kind."""
    (found,) = re.findall(rf"```{kind}\n(.*?)```", README, flags=re.DOTALL)
    return found


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder in which the example was run as printed, and what it said."""
    folder = tmp_path_factory.mktemp("newcomer")
    script = folder / "example.py"
    script.write_text(block("python"))
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_the_example_runs_as_printed(followed: tuple[Path, str]) -> None:
    (effect,) = map(float, re.findall(r"[+-]\d+\.\d+", followed[1]))
    assert "1 stage exact, by retraining" in followed[1] and "trust high" in followed[1]
    assert effect > 0.01


def test_the_example_is_short() -> None:
    loop, _, questions = block("python").partition("\n\nstudy = ")
    recording = [line for line in loop.splitlines() if line.strip() and not line.startswith("import")]
    assert len(recording) <= 20
    assert questions.count("\n") <= 7
    assert sum("recorder.batch" in line for line in recording) == 1


def test_the_language_at_a_glance_runs(followed: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(followed[0])
    before, _, _ = block("python").partition("with aadsl.Recorder")
    assert "loss_fn" in before
    digits = aadsl.datasets.mnist10k()
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )  # as in the example; the weights come from the recording

    def loss_fn(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    few = digits.isel(example=slice(9000, 9200))
    names = {"net": net, "loss_fn": loss_fn, "digits": digits}
    program = block("aascore").replace("on digits", "on few")  # fewer examples, for the tests' time
    result = aadsl.run(program, names | {"few": few})
    assert len(result.charts) == 3
    assert result.plan
    assert (followed[0] / "runs" / "scores.nc").exists()
    said = {line.split()[0] for line in block("aascore").splitlines() if line.strip()}
    from aadsl.statements import STATEMENTS

    assert said == set(STATEMENTS) - {"show", "help"}


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README + (ROOT / "CHANGELOG.md").read_text())
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?<![\w-])make ([a-z-]+)", README))
    assert named >= {"demo", "test", "figures", "help"}
    assert named <= targets


def test_every_name_of_the_vocabulary_that_is_mentioned_exists() -> None:
    from aadsl.estimators import ESTIMATORS

    section = README.partition("## How sure is it?")[2].partition("##")[0]
    assert {"first_order", "linearized", "retraining"} <= set(ESTIMATORS) & set(re.findall(r"`(\w+)`", section))


def cost_table() -> str:
    return README.partition("<!-- cost.md: costs -->\n")[2].partition("<!-- end -->")[0]


def recording_ratios() -> list[float]:
    (recorded,) = re.findall(r"\| recorded training *\|(.*)", cost_table())
    return [float(ratio) for ratio in re.findall(r"(\d+\.\d+) × \(", recorded)]


def test_the_costs_are_of_this_benchmark() -> None:
    from tests.benchmarks.cost import CASES

    assert all(case.title in cost_table() for case in CASES.values())
    assert len(recording_ratios()) == len(CASES)


def test_recording_is_almost_free() -> None:
    assert max(recording_ratios()) <= 1.3


def test_the_picture_is_a_chart_of_the_program() -> None:
    assert (ROOT / "tutorials" / "timeline.png").read_bytes().startswith(b"\x89PNG")
