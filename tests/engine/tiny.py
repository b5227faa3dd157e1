"""Tiny runs in float64, held in memory, and the dense matrices that the engine never forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev

from aadsl.core.clip import Clip
from aadsl.dynamics import DYNAMICS, RESTING
from aadsl.propagation import (
    Curvature,
    FlatState,
    Layout,
    Objective,
    Readout,
    Run,
    Step,
    StepMap,
    Tangents,
    Variation,
    at_end,
    tangent_sweep,
)
from tests.optimizers import OPTIMIZERS

COMMON = {"weight_decay": 0.02, "maximize": False}


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def log_likelihood(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return -nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@dataclass
class Held:
    """Micro-batches in memory; other data are the same inputs with the labels of ``data`` added to theirs."""

    batches: tuple

    def __call__(self) -> tuple:
        return self.batches

    def looked_up_in(self, data: int) -> Held:
        return Held(tuple((x, (y + data) % 3) for x, y in self.batches))


@dataclass
class TinyRun:
    """A run whose states are all in memory; ``checkpoints`` can be thinned out to force replays."""

    steps: list[Step]
    states: list[FlatState]
    step_map: StepMap
    readout: Readout
    kept: tuple[int, ...]
    ends: dict[tuple[int, int], FlatState] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.steps)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        return self.kept

    def step(self, index: int) -> Step:
        return self.steps[index]

    def state(self, index: int) -> FlatState:
        return self.states[index].clone()

    def reached(self, start: int, stop: int, end: FlatState) -> None:
        self.ends[start, stop] = end.clone()


def tiny_run(
    optimizer: str = "SGD",
    length: int = 8,
    *,
    clip: Clip | None = None,
    micro: int = 1,
    schedule: Callable[[int], float] = lambda t: 1 - 0.05 * t,
    model: nn.Module | None = None,
    groups: int = 2,
    **options: float,
) -> TinyRun:
    """Train a tiny network with two parameter groups, a schedule and the optimizer's options on, or as given."""
    model = model or network()
    parameters = dict(model.named_parameters())
    group_of = {name: min(i // 2, groups - 1) for i, name in enumerate(parameters)}
    layout = Layout.of({n: tuple(p.shape) for n, p in parameters.items()}, group_of)
    floats = {n: b for n, b in model.named_buffers() if b.is_floating_point()}
    integers = {n: b for n, b in model.named_buffers() if not b.is_floating_point()}
    buffers = Layout.of({n: tuple(b.shape) for n, b in floats.items()})
    like = next(iter(parameters.values())).detach()
    objective = Objective(model, loss, layout, buffers, tuple(integers), like)
    dynamics = DYNAMICS[optimizer]
    step_map = StepMap(objective)

    generator = torch.Generator().manual_seed(11)
    batches = [
        tuple(
            (torch.randn(5, 3, generator=generator, dtype=like.dtype), torch.randint(0, 3, (5,), generator=generator))
            for _ in range(micro)
        )
        for _ in range(length)
    ]
    count = len(layout.group_slices)
    steps = [_step(t, batches[t], optimizer, options, schedule(t), count, clip) for t in range(length)]
    vector = layout.flatten([parameters[n].detach() for n in layout.names], like)
    state = FlatState(
        vector,
        tuple(dynamics.initial(vector[s], h) for s, h in zip(layout.group_slices, steps[0].hyper, strict=True)),
        buffers.flatten([floats[n] for n in buffers.names], like),
        tuple(integers.values()),
    )
    states = [state]
    for step in steps:
        states.append(step_map(states[-1], step))
    examples = (
        torch.randn(6, 3, generator=generator, dtype=like.dtype),
        torch.randint(0, 3, (6,), generator=generator),
    )
    return TinyRun(steps, states, step_map, Readout(objective, log_likelihood, [examples]), tuple(range(length + 1)))


def _step(t: int, batches: tuple, optimizer: str, given: dict, factor: float, groups: int, clip: Clip | None) -> Step:
    options = COMMON | OPTIMIZERS[optimizer].smooth | given
    hyper = tuple({**options, "lr": options["lr"] * factor * (1 + 0.5 * g)} for g in range(groups))
    return Step(t, Held(batches), hyper, (DYNAMICS[optimizer],) * groups, clip=clip)


def dense_vector(state: FlatState) -> Tensor:
    return torch.cat([t.reshape(-1).double() for t in state.tensors()])


def dense_jacobian(run: Run, state: FlatState, step: Step) -> Tensor:
    """Return the matrix of the whole step map at ``state``, from a plain functional gradient and torch.func.jacrev."""
    layout, model = run.step_map.layout, network()
    shapes = [t.shape for t in state.tensors()]

    def mean_loss(named: dict[str, Tensor]) -> Tensor:
        parts = [nn.functional.cross_entropy(functional_call(model, named, (x,)), y) for x, y in step.batches()]
        return torch.stack(parts).mean()

    def whole_map(vector: Tensor) -> Tensor:
        pieces = torch.split(vector, [shape.numel() for shape in shapes])
        before = state.with_tensors(p.reshape(shape) for p, shape in zip(pieces, shapes, strict=True))
        slots = before.slots
        if step.resets_optimizer:
            groups = zip(layout.group_slices, slots, step.dynamics, step.hyper, strict=True)
            fresh = [(own, dynamics.initial(before.parameters[s], hyper)) for s, own, dynamics, hyper in groups]
            slots = tuple({n: first.get(n, torch.zeros_like(t)) for n, t in own.items()} for own, first in fresh)
        if not step.applied:
            return dense_vector(before._replace(slots=slots))
        gradients = grad(mean_loss)(layout.named_views(before.parameters))
        flat = layout.flatten([gradients[n] for n in layout.names], before.parameters)
        parameters, after = _plain_update(layout, before.parameters, slots, flat, step)
        return dense_vector(FlatState(parameters, after, before.buffers))

    return jacrev(whole_map)(dense_vector(state))


def _plain_update(
    layout: Layout, parameters: Tensor, slots: tuple, gradient: Tensor, step: Step
) -> tuple[Tensor, tuple]:
    gradient = gradient * step.gradient_weight
    if step.clip is not None and step.clip.kind == "norm":
        trained = [s for s, d in zip(layout.group_slices, step.dynamics, strict=True) if d is not RESTING]
        norm = torch.cat([gradient[s] for s in trained]).norm()
        gradient = gradient * torch.clamp(step.clip.limit / (norm + 1e-6), max=1.0)
    elif step.clip is not None:
        gradient = gradient.clamp(-step.clip.limit, step.clip.limit)
    results = []
    for s, own, dynamics, hyper in zip(layout.group_slices, slots, step.dynamics, step.hyper, strict=True):
        after, moved = dynamics.step(parameters[s], dict(own), gradient[s], hyper)
        results.append((after, {**own, **moved}))
    return torch.cat([p for p, _ in results]), tuple(s for _, s in results)


def tangents_at_end(
    run: Run, curvature: Curvature, jacobians: Sequence[Variation], varied: Sequence[Variation]
) -> list[FlatState]:
    """Return e_T of each stage from one whole tangent sweep."""
    start = Tangents(0, (None,) * len(varied))
    *_, last = tangent_sweep(run, run.step_map, start, curvature, jacobians=jacobians, varied=varied)
    return at_end(run, run.step_map, last)
