"""Steps that share a memory have the bits of the same steps one by one, and write to nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from aadsl.core.clip import Clip
from aadsl.dynamics import RESTING, Pausing
from aadsl.propagation import Average, Averaging, FlatState, Step
from aadsl.propagation.in_place import Memory
from tests.engine.test_update import TwoHeads
from tests.engine.tiny import TinyRun, tiny_run
from tests.optimizers import CASES, OPTIMIZERS, class_named, hyper


def same(a: FlatState, b: FlatState) -> bool:
    return all(torch.equal(x, y) for x, y in zip([*a.tensors(), *a.integers], [*b.tensors(), *b.integers], strict=True))


def together(run: TinyRun, state: FlatState, steps: list[Step]) -> FlatState:
    """Return where steps lead together, having seen that one by one they lead to the same bits from an equal state."""
    kept, alone, seen = state.clone(), state.clone(), []
    for step in steps:
        alone = run.step_map(alone, step)
        seen.append((alone, alone.clone()))
    end = run.step_map.through(state, steps)
    assert same(end, alone) and same(state, kept), "what was given stays"
    again = run.step_map.through(end, steps[:1])
    assert same(end, alone) and not same(again, end), "what was handed out stays"
    assert all(same(one, then) for one, then in seen)
    return end


def switched(options: dict) -> list[tuple[str, dict]]:
    return [(name, {**case, **options}) for name, case in CASES if OPTIMIZERS[name].fused]


@pytest.mark.parametrize(("name", "options"), [*CASES, *switched({"fused": True})], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_bits_are_those_of_steps_one_by_one(name: str, options: dict, groups: int) -> None:
    scalars = hyper(class_named(name)([torch.nn.Parameter(torch.zeros(1))], **options).param_groups[0])
    run = tiny_run(name, 5, groups=groups, **scalars)
    together(run, run.states[0], run.steps)
    together(run, run.states[2], run.steps[2:])


CHANGES: dict[str, Callable[[Step], Step]] = {
    "skipped": lambda step: replace(step, applied=step.index % 3 != 1),
    "restarted": lambda step: replace(step, resets_optimizer=step.index == 2),
    "one group restarted": lambda step: replace(step, restarts=(1,) if step.index == 2 else ()),
    "without gradient": lambda step: replace(step, gradient_weight=0.0),
    "reweighted": lambda step: replace(step, gradient_weight=0.5),
    "clipped by norm": lambda step: replace(step, clip=Clip("norm", 0.01)),
    "resting": lambda step: replace(step, dynamics=(step.dynamics[0], RESTING)),
    "pausing": lambda step: replace(step, dynamics=(Pausing(step.dynamics[0]), step.dynamics[1])),
}


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_steps_too(name: str, change: str) -> None:
    run = tiny_run(name, 5)
    together(run, run.states[1], [CHANGES[change](step) for step in run.steps])


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_what_gets_no_gradient_stays(name: str) -> None:
    run = tiny_run(name, 6, model=TwoHeads().double())
    together(run, run.states[0], run.steps)


class Elsewhere:
    """A displacement to a state that is kept, itself."""

    def __init__(self, state: FlatState) -> None:
        self.state = state

    def __call__(self, state: FlatState) -> FlatState:
        return self.state

    along = __call__


def test_a_state_that_a_step_is_displaced_to_is_not_written_to() -> None:
    run = tiny_run()
    stored = run.states[3].clone()
    steps = [replace(step, displacement=Elsewhere(stored) if step.index == 2 else None) for step in run.steps]
    together(run, run.states[0], steps)
    assert same(stored, run.states[3])


def test_an_average_that_is_the_latest_model_keeps_it() -> None:
    run = tiny_run()
    start = run.states[0]
    averaged = start._replace(average=Average(start.parameters, start.buffers, torch.zeros((), dtype=torch.float64)))
    steps = [replace(step, averaging=Averaging(1.0) if step.index == 3 else None) for step in run.steps]
    end = together(run, averaged, steps)
    assert end.average is not None and torch.equal(end.average.parameters, run.states[4].parameters)


def test_ordinary_steps_are_taken_in_one_memory() -> None:
    run, memory = tiny_run("Adam"), Memory()
    states = [run.states[0]]
    for step in run.steps[:3]:
        states.append(run.step_map.advance(states[-1], step, None, memory)[0])
    assert states[1].parameters is states[3].parameters is not states[0].parameters
    assert states[1].slots[1]["exp_avg"] is states[3].slots[1]["exp_avg"]
