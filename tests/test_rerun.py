"""``rerun``: the loop runs again without a stage, and the model decides in it what it trains on, and how fast."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

import aadsl
from aadsl.estimators.retraining import ends
from aadsl.estimators.spread import RetrainedStages, retrained_there
from aadsl.interventions import INTERVENTIONS, Rerun
from aadsl.replayed.execution import Execution
from aadsl.replayed.parcels import pickled, unpickled
from tests.trajectory.loops import DATA, INPUTS, TARGETS, mean_loss, sgd

EPOCHS, STEPS = 4, 3
STAGE = range(4, 7)
Batch = tuple[Tensor, Tensor]


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 3)]
    return nn.Sequential(*layers)


def rows(step: int) -> Tensor:
    return torch.randint(60, (8,), generator=torch.Generator().manual_seed(step))


def pseudo_labels(model: nn.Module, step: int) -> Batch:
    inputs = INPUTS[rows(step)]
    model.eval()
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    model.train()
    return inputs, labels


def adversarial(model: nn.Module, step: int) -> Batch:
    inputs, labels = INPUTS[rows(step)].requires_grad_(), TARGETS[rows(step)]
    model.eval()
    mean_loss(model, (inputs, labels)).backward()
    model.train()
    assert inputs.grad is not None
    return (inputs + 0.3 * inputs.grad.sign()).detach(), labels


class OncePerEpoch:
    """Labels that are made at the beginning of each epoch, and remembered."""

    def __call__(self, model: nn.Module, step: int) -> Batch:
        if step % STEPS == 0:
            self.labels = pseudo_labels_of_all(model)
        return INPUTS[rows(step)], self.labels[rows(step)]


def pseudo_labels_of_all(model: nn.Module) -> Tensor:
    model.eval()
    with torch.no_grad():
        labels = model(INPUTS).argmax(1)
    model.train()
    return labels


def as_ever(model: nn.Module, step: int) -> Batch:
    return INPUTS[rows(step)], TARGETS[rows(step)]


def held_out(model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        found = float(mean_loss(model, (INPUTS, TARGETS)))
    model.train()
    return found


def plateau(optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, patience=0, factor=0.5)


def by_hand(optimizer: torch.optim.Optimizer) -> Callable[[nn.Module, int], None]:
    """The same schedule as the function that a loop calls, with a warm-up before it."""
    schedule = plateau(optimizer)

    def before(model: nn.Module, step: int) -> None:
        if step == 2:
            optimizer.param_groups[0]["lr"] *= 2
        if step and step % STEPS == 0:
            schedule.step(held_out(model))

    return before


LOOPS: dict[str, tuple[Callable[[nn.Module, int], Batch], Rerun]] = {
    "pseudo-labels": (pseudo_labels, Rerun(pseudo_labels)),
    "adversarial": (adversarial, Rerun(adversarial)),
    "labels of an epoch": (OncePerEpoch(), Rerun(OncePerEpoch())),
    "plateau": (as_ever, Rerun(scheduler=plateau, metric=held_out)),
    "plateau and more": (as_ever, Rerun(scheduler=by_hand)),
    "both": (pseudo_labels, Rerun(pseudo_labels, plateau, held_out)),
}


def trained(kind: str, skipped: Collection[int] = (), recorded: Path | None = None) -> nn.Module:
    """Train as anyone would write it; the optimizer takes no step of those skipped."""
    make = LOOPS[kind][0]
    model = network()
    optimizer = sgd(model)
    schedule = plateau(optimizer) if kind in ("plateau", "both") else None
    react = by_hand(optimizer) if kind == "plateau and more" else None
    adaptive = make is not as_ever
    recorder = None if recorded is None else aadsl.Recorder(recorded, model, optimizer, adaptive=adaptive)
    for step in range(EPOCHS * STEPS):
        if react is not None:
            react(model, step)
        batch = make(model, step)
        if step not in skipped:
            torch.manual_seed(100 + step)  # dropout
            optimizer.zero_grad()
            mean_loss(model, batch).backward()
            if recorder is not None:
                recorder.batch(batch)
            optimizer.step()
        if schedule is not None and (step + 1) % STEPS == 0:
            schedule.step(held_out(model))
    if recorder is not None:
        recorder.close()
    return model


def study_of(folder: Path, model: nn.Module) -> aadsl.Study:
    study = aadsl.Study(aadsl.open_trajectory(folder), model=model, loss=mean_loss, device="cpu")
    study.stage("stage", list(STAGE))
    study.stage("late", [7])
    study.behavior("held", "log_likelihood", on=DATA)
    return study


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [kind for kind in LOOPS if kind != "plateau"])
def test_it_is_the_loop_that_one_would_write(kind: str, tmp_path: Path) -> None:
    model, rerun = trained(kind, recorded=tmp_path), LOOPS[kind][1]
    study = study_of(tmp_path, model)
    assert study.verify_trajectory().ok
    for stage, steps in {"stage": STAGE, "late": [7]}.items():
        expected = trained(kind, skipped=steps).state_dict()
        found = study.counterfactual(stage, intervention=rerun).state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    fixed, anew = (study.score(["stage"], ["held"], intervention=one) for one in ("skip", rerun))
    assert fixed.exact.all() and anew.exact.all() and fixed.effect.item() != anew.effect.item()
    assert fixed.trust.item() == "medium" and anew.trust.item() == "high"
    assert "as recorded" not in anew.attrs["question"] and "the model deciding anew" in anew.attrs["question"]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[aadsl.Study]:
    yield study_of(tmp_path, trained("both", recorded=tmp_path))


def test_what_is_not_decided_anew_still_lowers_the_trust(tmp_path: Path) -> None:
    study = study_of(tmp_path, trained("plateau", recorded=tmp_path))
    answer = study.score(["stage"], ["held"], intervention=Rerun(as_ever))
    assert answer.trust.item() == "medium" and "takes the learning rate" in answer.trust_reason.item()


def remembers(model: nn.Module, step: int, seen: list[int] = []) -> Batch:  # noqa: B006  (what is tested)
    seen.append(step)
    batch = pseudo_labels(model, step)
    return batch if len(seen) <= EPOCHS * STEPS else (batch[0] + 1, batch[1])


def fast(optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
    optimizer.param_groups[0]["lr"] = 0.7
    return plateau(optimizer)


WRONG: dict[str, tuple[Rerun, str]] = {
    "other batches": (
        Rerun(adversarial, plateau, held_out),
        r"another batch of step 0 than the loop did: it has \d+ of 48",
    ),
    "random": (Rerun(lambda model, step: (torch.randn(8, 6), torch.ones(8)[None].long())), "another batch of step 0"),
    "remembers": (Rerun(remembers, plateau, held_out), "another batch of step 0"),
    "another rate": (Rerun(pseudo_labels, fast, held_out), "sets the learning rate 0.7 at step 0, and the run had 0.1"),
    "no metric": (Rerun(pseudo_labels, plateau), "say metric="),
    "no schedule": (Rerun(pseudo_labels, lambda optimizer: None), "made None, and when the loop steps that"),
    "it fails": (Rerun(lambda model, step: 1 / 0), r"batch_fn\(model, step\) fails: ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_the_loop_is_refused(kind: str, both: aadsl.Study) -> None:
    rerun, said = WRONG[kind]
    with pytest.raises(aadsl.AadslError, match=said):
        both.score(["stage"], ["held"], intervention=rerun)


def test_what_a_decision_does_to_the_model_is_undone(both: aadsl.Study) -> None:
    def meddling(model: nn.Module, step: int) -> Batch:
        batch = pseudo_labels(model, step)
        model[3].p = 0.9  # type: ignore[index]
        model[4].register_forward_hook(lambda module, inputs, output: 2 * output)  # type: ignore[index]
        return batch

    fixed, anew, meddled, after = (
        both.score(["late"], ["held"], intervention=one).effect.item()
        for one in ("skip", LOOPS["both"][1], Rerun(meddling, plateau, held_out), INTERVENTIONS["reweight"](weight=0.5))
    )
    assert meddled == anew != fixed
    fresh = aadsl.Study(both.trajectory, model=network(), loss=mean_loss, device="cpu")
    fresh.stage("late", [7])
    fresh.behavior("held", "log_likelihood", on=DATA)
    assert after == fresh.score(["late"], ["held"], intervention=INTERVENTIONS["reweight"](weight=0.5)).effect.item()


def test_only_training_again_answers(both: aadsl.Study) -> None:
    rerun = LOOPS["both"][1]
    for ask in (
        lambda: both.score(["stage"], ["held"], estimator="first_order", intervention=rerun),
        lambda: both.step_effects(["held"], intervention=rerun),
        lambda: both.check(["held"], intervention=rerun),
        lambda: both.score(["stage"], ["held"], intervention=rerun, within=0),
    ):
        with pytest.raises(aadsl.AadslError, match=r"decides anew has no derivative[\s\S]*retraining\(\)"):
            ask()
    for given, said in {"": "batches, or learning rates", "metric": "what a schedule is stepped with"}.items():
        with pytest.raises(aadsl.AadslError, match=said):
            Rerun(batch_fn=pseudo_labels if given else None, metric=held_out)


def test_it_has_a_plan_and_a_place_in_the_language(both: aadsl.Study) -> None:
    rerun = LOOPS["both"][1]
    plan = both.plan(["stage"], ["held"], intervention=rerun)
    total, left_out = EPOCHS * STEPS, len(STAGE)
    assert plan.is_exact and plan.cost.gradients == 2 * total - left_out  # a control run, and one without the stage
    assert "one after the other: the model decides" in plan.way
    program = """load study
    behavior level = log_likelihood on data
    score late on level under rerun(batch_fn=make, scheduler=plan, metric=held)"""
    names: dict[str, Any] = {"study": both, "make": pseudo_labels, "plan": plateau, "held": held_out, "data": DATA}
    result = aadsl.run(program, names)
    assert result.dataset is not None
    wanted = both.score(["late"], ["held"], intervention=rerun).effect.item()
    assert result.dataset.effect.item() == pytest.approx(wanted, abs=1e-12)


def test_it_is_done_by_workers_and_beside_a_control_run_that_decides_too(both: aadsl.Study) -> None:
    history, member = both.history, np.isin(np.arange(EPOCHS * STEPS), list(STAGE))[None]
    (end,) = ends(history, member, LOOPS["both"][1], Execution())
    asked = RetrainedStages(member, LOOPS["both"][1], False)
    (there,) = retrained_there(history, unpickled(pickled(asked), ""))
    assert torch.equal(end.state.parameters, there.state.parameters)
    for rerun, same in ((LOOPS["both"][1], True), (Rerun(adversarial, plateau, held_out), False)):
        (rounded,) = ends(history, member, rerun, Execution(), control=True)  # as where bits are others
        assert torch.equal(rounded.controls[0].parameters, history.final.parameters) is same


def test_a_step_of_several_micro_batches_takes_as_many(tmp_path: Path) -> None:
    def made(model: nn.Module, step: int) -> list[Batch]:
        return [pseudo_labels(model, 2 * step), pseudo_labels(model, 2 * step + 1)]

    def train(skipped: Collection[int] = (), folder: Path | None = None) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        optimizer = sgd(model)
        recorder = None if folder is None else aadsl.Recorder(folder, model, optimizer, adaptive=True)
        for step in range(8):
            optimizer.zero_grad()
            for batch in made(model, step):
                if recorder is not None:
                    recorder.batch(batch)
                (mean_loss(model, batch) / 2).backward()
            if step not in skipped:
                optimizer.step()
        if recorder is not None:
            recorder.close()
        return model

    study = study_of(tmp_path, train(folder=tmp_path))
    found, expected = study.counterfactual("stage", intervention=Rerun(made)).state_dict(), train(STAGE).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(aadsl.AadslError, match="had 2 micro-batches"):
        study.counterfactual("stage", intervention=Rerun(lambda model, step: made(model, step)[:1]))


def test_examples_say_what_is_taken_as_recorded(both: aadsl.Study) -> None:
    answer = both.examples(["stage"], ["held"], top=1)
    exact = answer.example_exact.notnull().values
    assert exact.any() and set(answer.example_trust.values[exact]) == {"medium"}
    assert all("adaptive=True" in reason for reason in answer.example_trust_reason.values[exact])
