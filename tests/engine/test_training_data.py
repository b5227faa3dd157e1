"""Jobs that were trained on data of their own and chained, against plain loops; and lies about one job of a chain."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import aadsl
from aadsl.core.errors import AadslError
from aadsl.interventions import INTERVENTIONS
from aadsl.statements import Session, run
from aadsl.verification.verify import _chosen
from tests.trajectory.loops import mean_loss

Data = tuple[Any, ...]


def made(seed: int, count: int, *tables: Any) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator), torch.randint(3, (count,), generator=generator), *tables


WHO = ["ann", "bob", "cy"]
BROAD, SMALL = made(1, 90), made(2, 30, pd.DataFrame({"who": [WHO[i % 3] for i in range(30)]}))
CLEAN = made(3, 30)
DATA = {"broad": BROAD, "small": SMALL, "again": BROAD}
LENGTHS = {"broad": 60, "small": 12, "again": 30}
STARTS = {"broad": 0, "small": 60, "again": 72}
BEHAVIOR = BROAD[0][:20], BROAD[1][:20]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def rows(step: int, job: str) -> Tensor:
    return torch.randperm(len(DATA[job][0]), generator=torch.Generator().manual_seed(step))[:8]


def train(
    skipped: frozenset[int] = frozenset(),
    *,
    others: dict[str, Data] | None = None,
    between: Any = lambda model, job: None,
    folder: Path | None = None,
) -> nn.Module:
    """Train one job after the other; ``others`` are taken instead of the data in the steps that would be skipped."""
    model = network()
    for job, (x, y, *_) in DATA.items():
        between(model, job)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
        recorder = aadsl.Recorder(folder / job, model, optimizer, data=DATA[job]) if folder else None
        for step in range(STARTS[job], STARTS[job] + LENGTHS[job]):
            chosen, inputs, targets = rows(step, job), x, y
            if step in skipped:
                if others is None:
                    continue
                inputs, targets = others[job][:2]
            optimizer.zero_grad()
            mean_loss(model, (inputs[chosen], targets[chosen])).backward()
            if recorder:
                recorder.batch(indices=chosen)
            optimizer.step()
        if recorder:
            recorder.close()
    return model


def likelihood(model: nn.Module) -> float:
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return model(BEHAVIOR[0]).log_softmax(-1).gather(1, BEHAVIOR[1][:, None]).mean().item()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs")
    train(folder=path)
    return path


def study_of(folder: Path, data: Any = DATA, **options: Any) -> aadsl.Study:
    trajectory = aadsl.open_trajectory([folder / job for job in DATA])
    study = aadsl.Study(trajectory, model=network(), loss=mean_loss, data=data, device="cpu", **options)
    study.behavior("right", "log_likelihood", on=BEHAVIOR)
    study.stage("small", slice(60, 72))
    study.stage("across", slice(55, 75))
    return study


STAGES = {"small": frozenset(range(60, 72)), "across": frozenset(range(55, 75))}


def test_each_job_reads_its_own_data(folder: Path) -> None:
    study = study_of(folder)
    report = study.verify_trajectory(samples=200)
    assert report.ok and "102 steps" in str(report) and "every bit the same" in str(report), report
    found = study.retrain(list(STAGES), ["right"])["effect"].values[:, 0]
    truth = [likelihood(train()) - likelihood(train(stage)) for stage in STAGES.values()]
    assert found == pytest.approx(truth, abs=1e-6)
    assert np.isfinite(study.score(list(STAGES), ["right"])["effect"].values).all()


def test_data_are_replaced_job_by_job(folder: Path) -> None:
    others = {"broad": made(7, 90), "small": CLEAN, "again": made(8, 90)}
    replace = INTERVENTIONS["replace"](others)
    found = study_of(folder).retrain(["across"], ["right"], intervention=replace)["effect"].item()
    truth = likelihood(train()) - likelihood(train(STAGES["across"], others=others))
    assert found == pytest.approx(truth, abs=1e-6)


def test_what_is_known_of_examples_is_looked_up_in_the_data_of_their_job(folder: Path) -> None:
    session = Session(study=study_of(folder))
    run('stage ann = batches where share(who == "ann") > 0.4\nstage some = batches where any(label == 2)', {}, session)
    members = {name: set(np.flatnonzero(mask.values)) for name, mask in session.study.stages.items()}
    ann = {t for t in range(60, 72) if (rows(t, "small") % 3 == 0).double().mean() > 0.4}
    some = {t for job in DATA for t in range(STARTS[job], STARTS[job] + LENGTHS[job])
            if (DATA[job][1][rows(t, job)] == 2).any()}  # fmt: skip
    assert members["ann"] == ann != set()
    assert members["some"] >= some - ann  # the small job has no label of its own beside its table
    assert members["some"] & set(range(60)) == some & set(range(60))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (BROAD, r"other data: the data have 90 examples, those of .*small are 30"),
        ({**DATA, "small": CLEAN}, r"other data: the data have as many examples as those of .*small, but other ones"),
        ({**DATA, "small": (SMALL[0].flip(0), SMALL[1].flip(0))}, r"shuffled data: .*small"),
    ],
)
def test_wrong_data_of_one_job_are_named(folder: Path, data: Any, said: str) -> None:
    for ask in ("score", "retrain"):
        with pytest.raises(AadslError, match=said):
            getattr(study_of(folder, data), ask)(["small"], ["right"])


def test_answers_are_kept_apart_by_the_data_of_any_job(folder: Path) -> None:
    asked = {"stages": ["small"], "behaviors": ["right"], "estimator": "first_order"}
    first = study_of(folder).score(**asked)["effect"].item()
    changed = SMALL[0].clone()
    changed[1] += 100.0  # an example that no fingerprint looks at is used in the replay
    other = study_of(folder, {**DATA, "small": (changed, SMALL[1])}, unverified=True).score(**asked)
    assert other["effect"].item() != first


def test_data_in_a_list_are_no_data_of_each_run(folder: Path) -> None:
    trajectory = aadsl.open_trajectory([folder / job for job in DATA])
    report = trajectory.verify(network(), mean_loss, [BROAD, SMALL, BROAD], device="cpu")
    assert not report.ok and 'as a dict: data={"broad": …, "small": …, "again": …}' in str(report), report


def test_a_job_without_steps_goes_by_the_name_of_its_folder(folder: Path, tmp_path: Path) -> None:
    model = network()
    aadsl.Recorder(tmp_path / "none", model, torch.optim.SGD(model.parameters(), 0.05), BROAD).close()
    trajectory = aadsl.open_trajectory([folder / "broad", tmp_path / "none"])
    assert [job.name for job in trajectory.jobs] == ["broad", "none"]


def test_mistakes_in_naming_the_data(folder: Path) -> None:
    with pytest.raises(AadslError, match=r"no run is named 'smal'") as caught:
        study_of(folder, {**DATA, "smal": SMALL})
    assert 'did you mean "small"' in str(caught.value)
    with pytest.raises(AadslError, match=r"small was recorded by the indices of its batches, and no data") as caught:
        study_of(folder, {"broad": BROAD, "again": BROAD})
    assert 'data={"broad": …, "small": …, "again": …}' in str(caught.value)
    with pytest.raises(AadslError, match="examples cannot be taken from int"):
        study_of(folder, {"small": 7})
    by_path = {str(folder / job): part for job, part in DATA.items()}
    assert study_of(folder, by_path).verify_trajectory().ok


def freeze(model: nn.Module, job: str) -> None:
    """Train the head alone; the body of the middle job is another one."""
    body, norm, _, _ = model
    body.requires_grad_(False)
    norm.requires_grad_(False)
    with torch.no_grad():
        body.weight.copy_(network()[0].weight * (-1 if job == "small" else 1))


def forget_statistics(model: nn.Module, job: str) -> None:
    if job == "again":
        model[1].reset_running_stats()


@pytest.mark.parametrize(("between", "name"), [(freeze, "0.weight"), (forget_statistics, "1.running_mean")])
def test_what_was_changed_between_two_jobs_is_named(tmp_path: Path, between: Any, name: str) -> None:
    train(between=between, folder=tmp_path)
    with pytest.raises(AadslError, match=rf"broken chain: .* did not begin where .* ended: {name}"):
        study_of(tmp_path).score(["small"], ["right"])


@pytest.mark.parametrize("samples", [None, 1, 8])
def test_of_every_job_something_is_replayed(folder: Path, samples: int | None) -> None:
    trajectory = aadsl.open_trajectory([folder / job for job in DATA])
    chosen = _chosen(trajectory, samples, 0)
    for job in trajectory.jobs:
        assert any(job.start <= start and stop <= job.stop for start, stop in chosen), job
