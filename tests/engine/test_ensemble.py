"""Runs that advance together end where each would alone: every optimizer, intervention and kind of layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.dynamics import DYNAMICS
from aadsl.interventions import INTERVENTIONS, counterfactual
from aadsl.propagation import CannotAdvanceTogetherError, Step, Variation, ensemble, observed, rehearse, reruns
from tests.engine.test_propagation import ARGUMENTS
from tests.engine.tiny import TinyRun, tiny_run
from tests.interventions import FIXED

LENGTH = 8
STAGES = ([0, 1], [2], [5], [3, 4], [1, 6], [LENGTH - 1])


def intervention(name: str) -> Any:
    return INTERVENTIONS[name](**ARGUMENTS.get(name, {}))


def variations(intervention: Any, stages: Sequence[Sequence[int]] = STAGES) -> tuple[list[Variation], list[int]]:
    members = [np.isin(np.arange(LENGTH), stage) for stage in stages]
    return [counterfactual(intervention, member) for member in members], [min(stage) for stage in stages]


def agree(run: TinyRun, varied: list[Variation], firsts: list[int], size: int = 4, *, moves: bool = True) -> None:
    alone = {end.position: end.state for end in reruns(run, run.step_map, varied, firsts)}
    together = {end.position: end for end in ensemble(run, run.step_map, varied, firsts, size=size)}
    assert together.keys() == alone.keys() == set(range(len(varied)))
    for position, end in together.items():
        pairs = [(end.state, alone[position]), (end.controls[0], run.states[-1])]
        for found, wanted in pairs:
            for a, b in zip(found.tensors(), wanted.tensors(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
            assert all(torch.equal(a, b) for a, b in zip(found.integers, wanted.integers, strict=True))
    assert any(not torch.allclose(alone[0].parameters, other.parameters) for other in alone.values()) is moves


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("optimizer", DYNAMICS)
def test_every_optimizer_under_every_intervention(optimizer: str, name: str) -> None:
    varied, firsts = variations(intervention(name))
    agree(tiny_run(optimizer, LENGTH), varied, firsts, moves=(optimizer, name) != ("Rprop", "reweight"))


class Layers(nn.Module):
    """One of each kind that stacked parameters may trouble."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(4, 3)
        self.spare = nn.Linear(2, 2)  # takes no part in the loss

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layers(x)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.embed(x[..., None])).mean(dim=1)


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(1, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x[:, None])).amax(dim=2)


class Assigned(nn.Module):
    """Puts new tensors in the place of its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.count = self.count + 1
        return x - self.mean


NETWORKS = {
    "assigned buffers": lambda: Layers(nn.Linear(3, 4), Assigned()),
    "batch norm": lambda: Layers(nn.Linear(3, 4), nn.BatchNorm1d(4)),
    "layer norm": lambda: Layers(nn.Linear(3, 4), nn.LayerNorm(4)),
    "attention": lambda: Layers(Attention()),
    "convolution": lambda: Layers(Convolution()),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("intervention", ["skip", "zero_gradient", "restart"])
def test_every_kind_of_layer(name: str, intervention: str) -> None:
    run = tiny_run("SGD", LENGTH, model=NETWORKS[name]().double(), momentum=0.9)
    agree(run, *variations(INTERVENTIONS[intervention]()))


@pytest.mark.parametrize("clip", [Clip("norm", 0.05), Clip("norm", 0.05, 1.0), Clip("value", 0.01)], ids=str)
@pytest.mark.parametrize("micro", [1, 3])
def test_clipping_and_accumulation(clip: Clip, micro: int) -> None:
    agree(tiny_run("Adam", LENGTH, clip=clip, micro=micro), *variations(INTERVENTIONS["skip"]()))


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_portions_of_any_size(size: int) -> None:
    agree(tiny_run("AdamW", LENGTH), *variations(INTERVENTIONS["skip"]()), size=size)


def test_states_that_were_not_kept_are_walked_to() -> None:
    run = tiny_run("SGD", LENGTH, momentum=0.9)
    run.kept = (0, 4)
    agree(run, *variations(INTERVENTIONS["skip"]()))


def test_all_replicas_see_the_recorded_noise() -> None:
    """Dropout's masks are those of the run, in every micro-batch."""
    run = tiny_run("SGD", LENGTH, micro=2, model=Layers(nn.Linear(3, 4), nn.Dropout(0.5)).double(), momentum=0.9)
    generator = torch.Generator()
    noisy = [
        replace(step, rng_states=tuple({"cpu": generator.manual_seed(10 * step.index + m).get_state()} for m in (0, 1)))
        for step in run.steps
    ]
    quiet, run.steps = run.states[-1], noisy
    for t, step in enumerate(noisy):
        run.states[t + 1] = run.step_map(run.states[t], step)
    assert not torch.equal(run.states[-1].parameters, quiet.parameters)
    before = torch.get_rng_state()
    agree(run, *variations(INTERVENTIONS["skip"]()))
    assert torch.equal(torch.get_rng_state(), before)
    assert rehearse(run, run.step_map, 2, 3).agrees


def autocast_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        out = model(batch[0])
    return nn.functional.cross_entropy(out.float(), batch[1])


def test_autocast_inside_the_loss() -> None:
    run = tiny_run("SGD", LENGTH, model=Layers(nn.Linear(3, 4)))
    run.step_map.objective.loss = autocast_loss
    for t, step in enumerate(run.steps):
        run.states[t + 1] = run.step_map(run.states[t], step)
    varied, firsts = variations(INTERVENTIONS["skip"]())
    for end in ensemble(run, run.step_map, varied, firsts, size=4):
        alone = next(e for e in reruns(run, run.step_map, varied, firsts) if e.position == end.position).state
        torch.testing.assert_close(end.state.parameters, alone.parameters, rtol=1e-2, atol=1e-3)


def test_one_step_is_rehearsed() -> None:
    run = tiny_run("Adam", LENGTH)
    found = rehearse(run, run.step_map, 3, 5)
    assert found.agrees and not found.why and found.gain > 0
    assert found.gain == pytest.approx(5 * found.seconds_alone / found.seconds_together)


class Peeking(nn.Module):
    """Looks at its values, which no ensemble can."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return out * (2.0 if out.mean().item() > 0 else 1.0)


@pytest.mark.parametrize("model", [Peeking, lambda: Layers(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None))])
def test_what_cannot_be_stacked_is_said_in_words(model: Any) -> None:
    run = tiny_run("SGD", LENGTH, model=model().double())
    found = rehearse(run, run.step_map, 0, 3)
    assert found.gain == 0 and "looks at its values" in found.why
    with pytest.raises(CannotAdvanceTogetherError, match="looks at its values"):
        list(ensemble(run, run.step_map, *variations(INTERVENTIONS["skip"]()), size=3))


def test_a_run_that_diverges_loses_no_other() -> None:
    run = tiny_run("SGD", LENGTH)

    def wild(step: Step) -> Step:
        return replace(step, hyper=tuple({**h, "lr": float("inf")} for h in step.hyper)) if step.index == 1 else step

    calm = counterfactual(INTERVENTIONS["skip"](), np.isin(np.arange(LENGTH), [2]))
    for ends in (
        ensemble(run, run.step_map, [wild, calm], [1, 2], size=4),
        reruns(run, run.step_map, [wild, calm], [1, 2]),
    ):
        seen = []
        with pytest.raises(AadslError, match="diverges"):
            for end in ends:
                seen.append(end.position)  # noqa: PERF401  what was yielded before the error counts
        assert seen == [1]


def test_reruns_share_their_way_and_a_control_run_rides_along() -> None:
    run = tiny_run("Adam", LENGTH)
    varied, firsts = variations(INTERVENTIONS["skip"]())
    run.kept = (0, 3)
    told: list[tuple[int, int]] = []
    plain = {
        end.position: end
        for end in reruns(run, run.step_map, varied, firsts, progress=lambda _, a, b: told.append((a, b)))
    }
    assert [a for a, _ in told] == sorted(a for a, _ in told) and told[-1][0] == told[-1][1]
    controlled = {end.position: end for end in reruns(run, run.step_map, varied, firsts, controls=[observed])}
    for position, end in plain.items():
        other = controlled[position]
        assert not end.controls and len(other.controls) == 1
        assert torch.equal(other.controls[0].parameters, run.states[-1].parameters)
        assert torch.equal(end.state.parameters, other.state.parameters)
