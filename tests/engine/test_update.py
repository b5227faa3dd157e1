"""The derivative of the optimizer's step: where it is a small matrix, and where parameters got no gradient."""

from __future__ import annotations

from itertools import product
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from aadsl.dynamics import DYNAMICS, RESTING, Dynamics
from aadsl.propagation import CURVATURES, FlatState, Point, inner
from aadsl.propagation.linear_update import matrices
from aadsl.propagation.update import pullback, pushforward
from tests.engine.tiny import COMMON, TinyRun, dense_vector, tiny_run
from tests.optimizers import OPTIMIZERS

SWITCHES = {"dampening": [0.0, 0.2], "momentum": [0.0, 0.9], "nesterov": [False, True], "maximize": [False, True]}
HYPER = [dict(zip(SWITCHES, values, strict=True)) for values in product(*SWITCHES.values())]


def random_like(state: FlatState, seed: int, vectors_only: bool = False) -> FlatState:
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.rand(t.shape, generator=generator, dtype=torch.float64) for t in state.tensors())
    return state.with_tensors(t if t.dim() or not vectors_only else torch.zeros_like(t) for t in drawn)


def point_of(run: TinyRun, t: int = 3) -> Point:
    state, step = run.states[t], run.steps[t]
    return Point(state, step, run.step_map.evaluate(state, step), run.states[t + 1].parameters)


class Cubic:
    """An optimizer that says it is linear, and is not."""

    def initial(self, parameter: Tensor, hyper: dict) -> dict:
        return {}

    def linear(self, hyper: dict) -> bool:
        return True

    def step(self, parameter: Tensor, slots: dict, gradient: Tensor, hyper: dict) -> tuple[Tensor, dict]:
        return parameter - hyper["lr"] * gradient**3, {}


def nonlinearity(dynamics: Dynamics, hyper: dict) -> float:
    """Return the largest |f(a + b) − f(a) − f(b) + f(0)| of one step's vectors; counters stay as they are."""
    generator = torch.Generator().manual_seed(1)
    initial = dynamics.initial(torch.zeros(7, dtype=torch.float64), hyper)
    names = ["parameter", "gradient", *(name for name, t in initial.items() if t.dim())]

    def outcome(vectors: dict[str, Tensor]) -> Tensor:
        slots = {name: vectors.get(name, value) for name, value in initial.items()}
        after, moved = dynamics.step(vectors["parameter"], slots, vectors["gradient"], hyper)
        return torch.cat([after, *(t for t in moved.values() if t.dim())])

    a, b = ({name: torch.rand(7, generator=generator, dtype=torch.float64) for name in names} for _ in range(2))
    both = outcome({name: a[name] + b[name] for name in names}) + outcome({n: torch.zeros_like(a[n]) for n in names})
    return float((both - outcome(a) - outcome(b)).abs().max())


def test_every_optimizer_that_says_it_is_linear_is() -> None:
    cases = [(d, COMMON | OPTIMIZERS[name].smooth | switched) for name, d in DYNAMICS.items() for switched in HYPER]
    linear = [(dynamics, hyper) for dynamics, hyper in [*cases, (RESTING, {})] if dynamics.linear(hyper)]
    assert len(linear) >= 9
    assert all(nonlinearity(dynamics, hyper) < 1e-14 for dynamics, hyper in linear)
    assert nonlinearity(Cubic(), {"lr": 0.1}) > 0.01, "one that only says so would be found"


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("options", [o for o in HYPER if not o["dampening"]], ids=str)
def test_the_matrix_of_a_linear_step_is_its_derivative_by_autograd(options: dict, weight: float, groups: int) -> None:
    run = tiny_run("SGD", groups=groups, **options)
    point, layout = point_of(run), run.step_map.layout
    point = point._replace(step=point.step.__class__(**{**vars(point.step), "gradient_weight": weight}))
    assert matrices(point) is not None
    u, e = random_like(point.state, 1), random_like(point.state, 2)
    change = (random_like(point.state, 3).parameters, e.buffers)
    quick = pullback(layout, point, [u])[0], pushforward(layout, point, [e], [change])[0]
    with patch("aadsl.propagation.update.matrices", return_value=None):
        slow = pullback(layout, point, [u])[0], pushforward(layout, point, [e], [change])[0]
    for a, b in ((quick[0][0], slow[0][0]), (quick[1], slow[1])):
        torch.testing.assert_close(dense_vector(a), dense_vector(b), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(quick[0][1], slow[0][1], rtol=1e-13, atol=1e-15)


def test_dampening_and_clipping_are_left_to_autograd() -> None:
    assert matrices(point_of(tiny_run("SGD"))) is None
    assert matrices(point_of(tiny_run("Adam"))) is None


class TwoHeads(nn.Module):
    """Batches whose first input is positive use one head, the others the other one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.left if x[0, 0] > 0 else self.right)(self.body(x).tanh())


@pytest.mark.parametrize(("optimizer", "options"), [("SGD", {"dampening": 0.0}), *((name, {}) for name in DYNAMICS)])
def test_what_got_no_gradient_stays_in_the_derivative_too(optimizer: str, options: dict) -> None:
    """A head that a step does not use keeps its momentum: against finite differences of the step map."""
    run = tiny_run(optimizer, model=TwoHeads().double(), groups=1, length=6, **options)
    state = run.states[-1]
    heads = [run.step_map.layout.views(t)[2:] for own in state.slots for t in own.values() if t.dim()]
    assert all(any(bool(view.any()) for view in views) for views in zip(*heads, strict=True)), "both heads were used"
    for step in run.steps:
        evaluation = run.step_map.evaluate(state, step)
        assert evaluation.present is not None, "one head is idle"
        e, u = (random_like(state, seed, vectors_only=True) for seed in (5, 6))
        e = e.with_tensors(d * s for d, s in zip(e.tensors(), state.tensors(), strict=True))  # small moments bend early
        h = 1e-6
        ahead, behind = (
            run.step_map(state.with_tensors(s + k * d for s, d in zip(state.tensors(), e.tensors(), strict=True)), step)
            for k in (h, -h)
        )
        expected = (dense_vector(ahead) - dense_vector(behind)) / (2 * h)
        point = Point(state, step, evaluation, run.step_map(state, step).parameters)
        (moved,) = run.step_map.pushforward(point, [e], CURVATURES["exact"]())
        torch.testing.assert_close(dense_vector(moved), expected, rtol=1e-6, atol=1e-7)
        (pulled,) = run.step_map.pullback(point, [u], CURVATURES["exact"]())
        assert float(inner(u, moved)) == pytest.approx(float(inner(pulled, e)), rel=1e-12)
