"""The optimizer's share of a step of many runs, against the same step of each run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from aadsl.core.clip import Clip
from aadsl.dynamics import DYNAMICS, RESTING
from aadsl.propagation import FlatState, Layout, Step, stacked_update
from aadsl.propagation.replicas import Replicas
from aadsl.propagation.update import updated
from tests.engine.tiny import COMMON
from tests.optimizers import CASES, OPTIMIZERS, class_named, hyper

SHAPES = {"weight": (4, 3), "scale": (), "bias": (4,), "head": (5, 4), "offset": (5,)}
GROUPS = {"weight": 0, "scale": 0, "bias": 0, "head": 1, "offset": 1}
LAYOUT = Layout.of(SHAPES, GROUPS)
RUNS = 5


def recorded(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a recording holds of a group with these options of its class in ``torch.optim``."""
    return hyper(class_named(name)([torch.nn.Parameter(torch.zeros(1))], **options).param_groups[0])


def step_of(name: str, scalars: dict[str, Any], **changes: Any) -> Step:
    both = scalars, {**scalars, "lr": 2 * scalars["lr"]}
    return replace(Step(0, lambda: (), both, (DYNAMICS[name],) * 2), **changes)  # type: ignore[arg-type]


def taken(step: Step, absent: tuple[str, ...] = (), steps: int = 3) -> list[tuple[FlatState, FlatState]]:
    """Return the states of runs after some steps: in their rows, and each computed alone."""
    generator = torch.Generator().manual_seed(0)
    size = LAYOUT.size

    def drawn() -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    groups = list(zip(LAYOUT.group_slices, step.dynamics, step.hyper, strict=True))
    states = [drawn() for _ in range(RUNS)]
    alone = [FlatState(p, tuple(d.initial(p[s], h) for s, d, h in groups), p.new_zeros(0)) for p in states]
    replicas = Replicas(alone[0], RUNS)
    for row in range(1, RUNS):
        replicas.fork()
        replicas.set(row, alone[row])
    present = None if not absent else LAYOUT.mask([name not in absent for name in LAYOUT.names], torch.device("cpu"))
    for _ in range(steps):
        gradients = [torch.where(present, drawn(), 0.0) if present is not None else drawn() for _ in range(RUNS)]
        named = [LAYOUT.named_views(gradient) for gradient in gradients]
        stacked = [None if n in absent else turned(torch.stack([own[n] for own in named])) for n in LAYOUT.names]
        for rows in (range(2), range(2, RUNS)):
            own = [None if g is None else g[rows.start : rows.stop] for g in stacked]
            stacked_update.update(LAYOUT, replicas, list(rows), own, step)
        after = [updated(LAYOUT, state, g, present, step) for state, g in zip(alone, gradients, strict=True)]
        alone = [state._replace(parameters=p, slots=s) for state, (p, s) in zip(alone, after, strict=True)]
    return [(replicas.state(row), state) for row, state in enumerate(alone)]


def turned(stack: Tensor) -> Tensor:
    """Return the same matrices in memory that is transposed, as vmap gives those of linear layers."""
    return stack.transpose(1, 2).contiguous().transpose(1, 2) if stack.dim() == 3 else stack


def assert_same(pairs: list[tuple[FlatState, FlatState]]) -> None:
    for found, wanted in pairs:
        for a, b in zip(found.tensors(), wanted.tensors(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(pairs[0][0].parameters, pairs[1][0].parameters)


@pytest.fixture(params=[1, 30, 1 << 17], autouse=True)
def in_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of one tensor and run, of some, and of everything."""
    monkeypatch.setattr(stacked_update, "IN_CACHE", request.param)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_rows_take_the_step_of_single_runs(name: str, options: dict) -> None:
    assert_same(taken(step_of(name, recorded(name, options)), steps=8))


@pytest.mark.parametrize("name", DYNAMICS)
@pytest.mark.parametrize("absent", [("weight",), ("bias", "head"), ("head", "offset")], ids=str)
def test_what_got_no_gradient_stays_with_its_slots_and_counters(name: str, absent: tuple[str, ...]) -> None:
    assert_same(taken(step_of(name, COMMON | OPTIMIZERS[name].smooth), absent))


@pytest.mark.parametrize("clip", [Clip("norm", 0.5), Clip("norm", 0.5, 1.0), Clip("norm", 0.5, float("inf")),
                                  Clip("value", 0.3)], ids=str)  # fmt: skip
@pytest.mark.parametrize("weight", [1.0, -0.5])
@pytest.mark.parametrize("resting", [False, True])
def test_gradients_are_weighted_and_clipped_by_the_norm_of_each_run(clip: Clip, weight: float, resting: bool) -> None:
    step = step_of("SGD", COMMON | OPTIMIZERS["SGD"].smooth, clip=clip, gradient_weight=weight)
    assert_same(taken(replace(step, dynamics=(DYNAMICS["SGD"], RESTING)) if resting else step))
