"""Runs that nobody recorded, trained again from checkpoint to checkpoint; against the plain loop that kept those."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import aadsl
from aadsl.interventions import counterfactual
from aadsl.interventions.skip import Skip
from aadsl.propagation import ensemble, reruns
from aadsl.trajectory import Clip
from tests.reconstruction import loops
from tests.reconstruction.loops import (
    DATA,
    EVERY,
    LENGTH,
    Checkpoints,
    Loop,
    X,
    Y,
    loss,
    momentum,
    network,
    reconstructed,
    rows,
    studied,
    trained,
    wrong_in_the_middle,
)

STAGES = {"early": [1, 2], "across": [3, 4], "middle": [5, 6], "late": [9]}


@pytest.fixture(scope="module")
def run() -> tuple[Loop, Checkpoints]:
    return trained()


@pytest.fixture(scope="module")
def exact(run: tuple[Loop, Checkpoints], tmp_path_factory: pytest.TempPathFactory) -> aadsl.Reconstruction:
    return reconstructed(run[1], tmp_path_factory.mktemp("exact") / "run", metadata=lambda step: {"epoch": step // 6})


@pytest.fixture(scope="module")
def missed(run: tuple[Loop, Checkpoints], tmp_path_factory: pytest.TempPathFactory) -> aadsl.Reconstruction:
    return reconstructed(run[1], tmp_path_factory.mktemp("missed") / "run", batches=wrong_in_the_middle)


def test_it_is_the_run(run: tuple[Loop, Checkpoints], exact: aadsl.Reconstruction) -> None:
    loop, checkpoints = run
    assert [(gap.start, gap.stop, gap.verdict, gap.mismatch) for gap in exact.gaps] == [
        (start, start + EVERY, "exact", 0.0) for start in range(0, LENGTH, EVERY)
    ]
    assert not exact.approximate and "all agree with the checkpoints" in repr(exact)
    trajectory = aadsl.open_trajectory(exact.path)  # as one finds it later
    assert trajectory.length == LENGTH and trajectory.steps["epoch"].values.tolist() == [0] * 6 + [1] * 6
    for step, kept in checkpoints.items():
        state = trajectory.state(step)
        assert all(torch.equal(value, kept["model"][name]) for name, value in state.parameters.items())
    study = studied(trajectory, STAGES)
    report = study.verify_trajectory(samples=100)
    assert report.ok and "12 steps" in str(report) and "every bit the same" in str(report), report
    answer = study.retrain([*STAGES], ["likely"])
    truth = [loop.value() - trained(stage)[0].value() for stage in STAGES.values()]
    assert np.allclose(answer.effect.values[:, 0], truth, rtol=0, atol=1e-9) and np.abs(truth).min() > 1e-5
    assert (answer.trust.values == "high").all() and not study.notes
    assert np.isnan(study.gaps("likely").effect.values).sum() == 0 == np.abs(study.gaps("likely").effect.values).max()


def test_it_answers_as_a_recording_does(exact: aadsl.Reconstruction, tmp_path: Path) -> None:
    loop = Loop()
    with aadsl.Recorder(tmp_path / "run", loop.model, loop.optimizer, data=DATA) as recorder:
        for step in range(LENGTH):
            recorder.batch(indices=rows(step))
            loop.take(step)
    found = [
        studied(one, STAGES).score([*STAGES], ["likely"], estimator="first_order").effect.values
        for one in (aadsl.open_trajectory(tmp_path / "run"), exact.trajectory)
    ]
    assert np.allclose(*found, rtol=1e-6, atol=0)


def beside(checkpoints: Checkpoints, skipped: list[int], moved: bool = True) -> float:
    """The behavior of the loop with the wrong rows, which goes on from the checkpoints moved as it was moved itself."""
    loop, without = Loop(), Loop()
    for step in range(LENGTH):
        if step == 2 * EVERY and moved:
            aimed, own, reached = checkpoints[step], loop.kept(), without.kept()
            for name, value in own["model"].items():
                value += aimed["model"][name] - reached["model"][name]
            for key, state in own["optimizer"]["state"].items():
                was, now = reached["optimizer"]["state"][key], aimed["optimizer"]["state"][key]
                state["exp_avg"] += now["exp_avg"] - was["exp_avg"]
                state["exp_avg_sq"] *= now["exp_avg_sq"] / was["exp_avg_sq"]
            loop.put(own)
        if step not in skipped:
            loop.take(step, wrong_in_the_middle)
        without.take(step, wrong_in_the_middle)
    return loop.value()


def test_a_gap_that_misses_is_marked(
    run: tuple[Loop, Checkpoints], missed: aadsl.Reconstruction, tmp_path: Path
) -> None:
    loop, checkpoints = run
    (gap,) = missed.approximate
    assert (gap.start, gap.stop) == (EVERY, 2 * EVERY) and gap.mismatch > 0.05 > gap.explained
    assert "1 of them approximate" in repr(missed) and [g.verdict for g in missed.gaps].count("exact") == 2
    missed.trajectory.to_netcdf(tmp_path / "run.nc")
    assert aadsl.open_trajectory(tmp_path / "run.nc").gaps == missed.gaps
    study = studied(aadsl.open_trajectory(missed.path), STAGES)
    assert study.verify_trajectory(samples=100).ok and "steps 4 … 7" in study.notes[0]
    answer = study.retrain([*STAGES], ["likely"])
    truth = [loop.value() - beside(checkpoints, stage) for stage in STAGES.values()]
    assert np.allclose(answer.effect.values[:, 0], truth, rtol=0, atol=1e-9)
    alone = loop.value() - beside(checkpoints, [], moved=False)
    assert study.gaps("likely").effect.values[:, 0] == pytest.approx([0, alone, 0], abs=1e-9) and abs(alone) > 1e-4
    over = [name for name, stage in STAGES.items() if min(stage) < 2 * EVERY]
    for name, level, reason, noise, effect in zip(
        STAGES, *(answer[what].values[:, 0] for what in ("trust", "trust_reason", "noise", "effect")), strict=True
    ):
        if name in over:
            assert level == ("medium" if abs(effect) >= 2 * abs(alone) else "low"), name
            assert f"steps 4 … 7 by {gap.mismatch:.2g} times the way they went" in reason
            assert noise == pytest.approx(abs(alone), abs=1e-9)
        else:
            assert level == "high" and noise == 0 and "bits of the recorded run" in reason


def test_estimates_go_over_it(missed: aadsl.Reconstruction, run: tuple[Loop, Checkpoints]) -> None:
    study = studied(missed.trajectory, STAGES)
    study.behavior("each", loops.likely, on=loops.SEEN, per_example=True)
    adjoint = study.score([*STAGES], ["likely"], estimator="first_order")
    tangent = study.score([*STAGES], ["each"], estimator="first_order").example_effect.mean("example").values[:, 0]
    assert adjoint.effect.values[:, 0] == pytest.approx(tangent, rel=1e-8)
    assert ["beside the next checkpoint" in reason for reason in adjoint.trust_reason.values[:, 0]] == [True] * 3 + [
        False
    ]
    # What a step alone does is what it does to first order; the last step of the gap does not make up for the mismatch.
    study.stage("last", [2 * EVERY - 1])
    truth = run[0].value() - beside(run[1], [2 * EVERY - 1])
    estimate = study.score(["last"], ["likely"], estimator="first_order").effect.item()
    assert abs(estimate - truth) < 0.3 * abs(truth) and abs(truth) > 1e-5
    steps = study.step_effects("likely")
    assert "steps 4 … 7" in steps.trust_reason.item() and (study.steps["checkpoint_mismatch"].values > 0).sum() == EVERY


def test_runs_that_advance_together_go_over_it(missed: aadsl.Reconstruction) -> None:
    history = studied(missed.trajectory, {}).history
    stages = [[1, 2], [5], [2 * EVERY - 1]]
    varied = [counterfactual(Skip(), np.isin(np.arange(LENGTH), stage)) for stage in stages]
    firsts = [stage[0] for stage in stages]
    alone = {end.position: end.state for end in reruns(history, history.step_map, varied, firsts)}
    for end in ensemble(history, history.step_map, varied, firsts, size=3):
        assert torch.allclose(end.state.parameters, alone[end.position].parameters, rtol=0, atol=1e-9)
        assert torch.allclose(end.controls[0].parameters, history.final.parameters, rtol=0, atol=1e-9)


def test_only_what_misses_is_trained_again(missed: aadsl.Reconstruction, run: tuple[Loop, Checkpoints]) -> None:
    begun: list[int] = []

    def noting(step: int) -> None:
        begun.append(step)
        loops.seeded(step)

    again = reconstructed(run[1], missed.path, begin=noting)
    assert begun == [*range(EVERY, 2 * EVERY)] and not again.approximate
    assert not reconstructed(run[1], missed.path, begin=noting).approximate and len(begun) == EVERY
    reconstructed(run[1], missed.path, begin=noting, batches=wrong_in_the_middle, overwrite=True)  # as it was
    assert len(begun) == EVERY + LENGTH


def test_a_reconstruction_that_was_killed_goes_on(run: tuple[Loop, Checkpoints], tmp_path: Path) -> None:
    begun: list[int] = []

    def killed(step: int) -> None:
        begun.append(step)
        loops.seeded(step)
        if len(begun) == EVERY + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstructed(run[1], tmp_path / "run", begin=killed)
    with pytest.raises(aadsl.AadslError, match=r"not whole: its end is missing"):
        aadsl.open_trajectory(tmp_path / "run")
    found = reconstructed(run[1], tmp_path / "run", begin=killed)
    assert begun == [*range(EVERY + 2), *range(EVERY, LENGTH)] and not found.approximate


def test_threads_take_turns(run: tuple[Loop, Checkpoints], exact: aadsl.Reconstruction, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        found = reconstructed(run[1], tmp_path / "run", executor=executor)
    assert found.gaps == exact.gaps
    for step in range(0, LENGTH + 1, EVERY):
        one, other = (trajectory.state(step) for trajectory in (found.trajectory, exact.trajectory))
        assert all(torch.equal(value, other.parameters[name]) for name, value in one.parameters.items())


def test_weights_alone(run: tuple[Loop, Checkpoints], tmp_path: Path) -> None:
    """The optimizer's state is carried on from the beginning, where there was none; else it is made up, and said."""
    weights = {step: kept["model"] for step, kept in run[1].items()}
    found = reconstructed(weights, tmp_path / "all")
    assert [gap.verdict for gap in found.gaps] == ["exact"] * 3
    assert [gap.remark[:35] for gap in found.gaps] == ["", *["the optimizer's state was not kept:"] * 2]
    later = {step: one for step, one in weights.items() if step >= EVERY}
    found = reconstructed(later, tmp_path / "later")
    assert [gap.verdict for gap in found.gaps] == ["approximate"] * 2 and f"{EVERY} … {2 * EVERY - 1}" in repr(found)
    assert "warmed up on these very steps" in found.gaps[0].remark and "steps before end" in found.gaps[1].remark
    assert found.gaps[1].mismatch < found.gaps[0].mismatch < 1


def test_a_rate_that_changed_is_named(run: tuple[Loop, Checkpoints], tmp_path: Path) -> None:
    (gap,) = reconstructed({step: run[1][step] for step in (0, EVERY)}, tmp_path / "run", schedule=None).gaps
    assert gap.verdict == "approximate" and "no schedule= was given" in gap.remark


def test_files_of_checkpoints(run: tuple[Loop, Checkpoints], tmp_path: Path) -> None:
    given: dict[int, Any] = {}
    for step, kept in run[1].items():
        given[step] = tmp_path / f"{step}.pt"
        torch.save({"model_state_dict": kept["model"], "optimizer_state_dict": kept["optimizer"]}, given[step])
    given[0] = lambda: run[1][0]
    assert not reconstructed(given, tmp_path / "files").approximate
    torch.save({"model": Loop().model, "epoch": 3}, given[EVERY])
    with pytest.raises(aadsl.AadslError, match=r"4\.pt, cannot be read: it holds more than tensors"):
        reconstructed(given, tmp_path / "files")
    os.truncate(given[EVERY], 100)
    with pytest.raises(aadsl.AadslError, match=r"checkpoint of step 4, .*4\.pt, cannot be read"):
        reconstructed(given, tmp_path / "files")


def test_other_loops(tmp_path: Path) -> None:
    """Micro-batches that were no positions, clipped gradients, momentum, an optimizer that began anew."""
    model, checkpoints = network(), {}
    optimizer = momentum([*model.parameters()])

    def parts(step: int) -> list[Any]:
        return [(X[part], Y[part]) for part in rows(step).chunk(2)]

    for step in range(8):
        if step % 4 == 0:
            optimizer = momentum([*model.parameters()])
            loop = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoints[step] = loops.copy.deepcopy(loop)
        loops.seeded(step)
        optimizer.zero_grad()
        for part in parts(step):
            (loss(model, part) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
    checkpoints[8] = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    told = {"optimizer": momentum, "batches": parts, "data": None, "schedule": None, "accumulate": 2, "clip": 0.3}
    found = reconstructed(checkpoints, tmp_path / "run", **told)
    assert [gap.verdict for gap in found.gaps] == ["exact"] * 2, found
    assert found.trajectory.phases[1].resets_optimizer
    study = aadsl.Study(found.trajectory, model=network(), loss=loss, device="cpu")
    assert "8 steps" in str(study.verify_trajectory(samples=50)) and study.verify_trajectory().ok
    del checkpoints[4]
    assert reconstructed(checkpoints, tmp_path / "value", **told | {"clip": Clip("value", 0.01)}).approximate


def test_what_cannot_be_reconstructed(
    run: tuple[Loop, Checkpoints], exact: aadsl.Reconstruction, tmp_path: Path
) -> None:
    checkpoints: dict[Any, Any] = dict(run[1])

    def refused(words: str, given: Any = checkpoints, **told: Any) -> None:
        with pytest.raises(aadsl.AadslError, match=words):
            reconstructed(given, tmp_path / "run", **told)

    refused("there are no two checkpoints", {0: checkpoints[0]})
    refused("the text '4' is no number of steps", checkpoints | {"4": checkpoints[4]})
    refused("the checkpoint of step 4 has no weights: it holds epoch", checkpoints | {4: {"epoch": 1}})
    refused("the checkpoint of step 4 does not fit", checkpoints | {4: {"other": torch.zeros(1)}})
    refused("optimizer's state in the checkpoint of step 0 does not fit", optimizer=lambda ps: momentum(ps[:1]))
    refused(r"optimizer\(params\) returned None, no optimizer", optimizer=lambda params: None)
    refused(r"batches\(0\) returned a Tensor, not the 2 micro-batches", accumulate=2)
    refused("schedule.0. returned None", schedule=lambda step: None)
    refused("accumulate=0 micro-batches make no step", accumulate=0)
    refused("index 99 is outside|the data hold 60 examples, but example 99", batches=lambda step: [99])
    refused("begin.0. fails: ZeroDivisionError: .*in line", begin=lambda step: 1 / step)
    fewer = {step: kept for step, kept in checkpoints.items() if step != 4}
    with pytest.raises(aadsl.AadslError, match=r"trained again between other checkpoints: .*0-4"):
        reconstructed(fewer, exact.path)
    with pytest.raises(aadsl.AadslError, match="holds a recorded run"):
        reconstructed(checkpoints, exact.path / "0-4")
