"""What a plan foretells, against what then happens."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import aadsl
from aadsl.propagation import adjoint
from aadsl.study.peak_memory import peak_of
from tests.benchmarks.memory import peak_bytes

STEPS = 40
SWEPT = ["first_order", "retraining", "linearized"]


@pytest.fixture
def study(tmp_path: Path) -> aadsl.Study:
    return recorded(tmp_path / "run", width=16, batch=16)


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(200, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10))


def recorded(path: Path, width: int, batch: int, momentum: float = 0.0) -> aadsl.Study:
    """Record a run of an MLP and define a stage and a behavior on it."""
    torch.manual_seed(0)
    net = network(width)
    data = (torch.randn(640, 200), torch.randint(10, (640,)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=momentum)

    def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    with aadsl.Recorder(path, net, optimizer) as recorder:
        for step in range(STEPS):
            chosen = torch.arange(step * batch, step * batch + batch) % 640
            recorder.batch(indices=chosen)
            optimizer.zero_grad()
            loss(net, (data[0][chosen], data[1][chosen])).backward()
            optimizer.step()
    study = aadsl.Study(aadsl.open_trajectory(path), model=net, loss=loss, data=data, device="cpu")
    study.stage("middle", slice(10, 20))
    study.stage("late", slice(30, 35))
    study.behavior("margin", "margin", on=(data[0][:8], data[1][:8]))
    return study


@pytest.mark.parametrize(("estimator", "least"), [("first_order", 1.0), ("retraining", 0.6), ("linearized", 0.6)])
def test_the_foretold_time_is_about_what_it_takes(
    study: aadsl.Study, estimator: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where evaluating the loss takes a second and nothing else takes any time.

    ``tests.benchmarks.foretold`` prints how near the foretold time comes on a real one.
    """
    seconds, cross_entropy = [0.0], F.cross_entropy

    def slow(*given: Any) -> torch.Tensor:
        seconds[0] += 1
        return cross_entropy(*given)

    study.verify_trajectory()  # once a study, whatever is asked: not foretold
    monkeypatch.setattr(F, "cross_entropy", slow)
    monkeypatch.setattr("aadsl.study.cost_model.time", SimpleNamespace(perf_counter=lambda: seconds[0]))
    foretold = study.plan(["middle"], ["margin"], estimator).seconds
    assert foretold is not None
    started = seconds[0]
    study.score(["middle"], ["margin"], estimator=estimator)
    taken = seconds[0] - started
    assert least * foretold <= taken <= foretold  # steps that a stage skips are foretold as if they were done


def test_what_a_sweep_reads_off_is_foretold_too(study: aadsl.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where an inner product takes a second and nothing else takes any time."""
    seconds, honest = [0.0], adjoint.inner

    def slow(*given: Any) -> torch.Tensor:
        seconds[0] += 1
        return honest(*given)

    study.verify_trajectory()
    study.behavior("likelihood", "log_likelihood", on=study.data)
    monkeypatch.setattr(adjoint, "inner", slow)
    monkeypatch.setattr("aadsl.study.cost_model.time", SimpleNamespace(perf_counter=lambda: seconds[0]))
    foretold = study.plan(["middle"], ["margin", "likelihood"], "first_order").seconds
    started = seconds[0]
    study.score(["middle"], ["margin", "likelihood"], estimator="first_order")
    assert foretold == seconds[0] - started == 2 * STEPS


@pytest.mark.parametrize("estimator", ["first_order", "retraining", "linearized"])
def test_a_plan_says_that_the_answer_is_kept(study: aadsl.Study, estimator: str) -> None:
    assert not study.plan(["late"], ["margin"], estimator).kept
    study.score(["late"], ["margin"], estimator=estimator)
    assert study.plan(["late"], ["margin"], estimator).kept
    assert "in the cache" in str(study.plan(["late"], ["margin"], estimator))


def test_the_plan_says_direction_work_time_memory_and_the_exact_way(study: aadsl.Study) -> None:
    text = str(study.plan(["middle"], ["margin"], "linearized", "zero_gradient"))
    for part in ("tangent", "gradients", "Hessian-vector products", "on this machine", "B at a time", "retraining()"):
        assert part in text


def test_ranking_steps_has_a_plan_too(study: aadsl.Study) -> None:
    plan = study.plan([], ["margin"])
    assert plan.cost.products == STEPS
    assert plan.exact.gradients >= STEPS


def test_single_examples_take_a_sweep_of_their_own(study: aadsl.Study) -> None:
    study.behavior("each", "margin", on=study.data, per_example=True)
    together, each = (study.plan(["middle", "late"], [name], "first_order").cost for name in ("margin", "each"))
    assert each.products - together.products == (STEPS - 10) + (STEPS - 30)
    assert each.gradients - together.gradients == 2 * (each.products - together.products) + STEPS - 10


@pytest.fixture(scope="module")
def in_a_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """The foretold memory of each question, and what asking it took."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cache.test_cost_model", str(tmp_path_factory.mktemp("large")), *SWEPT],
        capture_output=True, text=True, check=True, env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines()[-len(SWEPT) :]]
    return {estimator: (int(foretold), int(grown)) for estimator, foretold, grown in lines}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for a process's peak")
@pytest.mark.parametrize("estimator", SWEPT)
def test_the_foretold_memory_is_what_the_process_grows_by(
    in_a_process: dict[str, tuple[int, int]], estimator: str
) -> None:
    """The kernel counts pages, the plan counts tensors: another process, large tensors, so that both see the same."""
    foretold, grown = in_a_process[estimator]
    print(f"{estimator}: foretold {foretold / 1e6:.0f} MB, grew by {grown / 1e6:.0f} MB")
    assert foretold / 2 < grown < foretold * 2


def main(path: str, *estimators: str) -> None:
    """Print the foretold memory of questions about runs with 4 MB of weights, and what asking each took."""
    for estimator in estimators:
        large = recorded(Path(path) / estimator, width=900, batch=64, momentum=0.9)
        foretold = large.plan(["middle"], ["margin"], estimator).memory
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = peak_bytes()
        large.score(["middle"], ["margin"], estimator=estimator)
        print(estimator, foretold, peak_bytes() - before)


def test_a_larger_model_batch_and_question_take_more(tmp_path: Path) -> None:
    def foretold(name: str, width: int, batch: int, stages: list[str], estimator: str = "linearized") -> int:
        memory = recorded(tmp_path / name, width, batch).plan(stages, ["margin"], estimator).memory
        assert memory is not None
        return memory

    small = foretold("small", 64, 16, ["middle"])
    assert foretold("wide", 256, 16, ["middle"]) > 4 * small
    few, many = (foretold(f"batch of {batch}", 16, batch, ["middle"]) for batch in (16, 640))
    assert many > few + (640 - 16) * 16 * 4  # at least one layer's activations
    one, two = (foretold(f"{len(stages)} stages", 64, 4, stages) for stages in (["middle"], ["middle", "late"]))
    assert two - one >= sum(p.numel() * 4 for p in network(64).parameters())  # one tangent more
    assert foretold("adjoint", 64, 16, ["middle"], "first_order") > 2 * small  # it keeps states


def test_the_peak_is_that_of_the_tensors_held_at_once() -> None:
    start = torch.zeros(1000)

    def work() -> torch.Tensor:
        first = start + 1  # 4000 bytes
        second = first.view(10, 100).t() * 2  # 4000 more; the view takes nothing
        del first
        return second[0].exp() + second.sum()  # 40 + 4 + 40, when 4000 are gone

    assert peak_of(work, torch.device("cpu")) == 8000
    assert peak_of(lambda: start.add_(1).view(-1), torch.device("cpu")) == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
