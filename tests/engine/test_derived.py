"""Formulas of optimizers whose steps a copy takes: what the copy does, to rounding, and the derivative of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aadsl.dynamics import DERIVED, Given, OwnOptimizer, kind_of, scalars_of
from aadsl.interventions import Reweight
from aadsl.trajectory.record.group_scalars import scalar_keys
from tests.engine.own_optimizers import OWN
from tests.engine.test_own_optimizers import study_of, train

SHAPES = {"matrix": (3, 4), "vector": (5,), "kernel": (2, 3, 2)}
NAMES = [name for name in OWN if name.startswith("Adafactor")]

pytestmark = pytest.mark.filterwarnings("ignore:of a run with")


def standing(name: str, steps: int) -> tuple[OwnOptimizer, Given]:
    """Return a copy of an optimizer, and what its next step reads after some."""
    generator = torch.Generator().manual_seed(0)

    def drawn() -> dict[str, Tensor]:
        return {n: torch.randn(shape, generator=generator, dtype=torch.float64) for n, shape in SHAPES.items()}

    made = OWN[name]([torch.nn.Parameter(value) for value in drawn().values()])
    owner = OwnOptimizer(kind_of(made), [drawn()], [{}], OWN[name])
    hyper = scalars_of(made.param_groups[0], scalar_keys(made))
    given = Given(drawn(), {}, owner.initial(0), hyper)
    for _ in range(steps):
        vector, slots = owner.step({0: given._replace(gradients=drawn())})[0]
        sizes = [value.numel() for value in given.parameters.values()]
        parts = zip(given.parameters.items(), vector.split(sizes), strict=True)
        given = Given({n: part.clone().view_as(value) for (n, value), part in parts}, {}, slots, hyper)
    return owner, given._replace(gradients=drawn())


def test_the_tests_cover_the_table() -> None:
    assert {kind_of(OWN[name]([torch.nn.Parameter(torch.ones(2, 2))])) for name in NAMES} == set(DERIVED)


@pytest.mark.parametrize("steps", [0, 1, 6])
@pytest.mark.parametrize("name", NAMES)
def test_a_formula_takes_the_step_of_the_optimizer(name: str, steps: int) -> None:
    owner, given = standing(name, steps)
    given = given._replace(gradients=given.gradients | {"vector": None})
    (vector, slots), (wanted, kept) = owner.differentiable({0: given})[0], owner.step({0: given})[0]
    assert torch.allclose(vector, wanted, rtol=1e-6, atol=1e-9) and slots.keys() == kept.keys()
    for path, value in slots.items():
        assert torch.allclose(value.double(), kept[path].double(), rtol=1e-6, atol=1e-9), path


@pytest.mark.parametrize("name", NAMES)
def test_its_derivative_is_that_of_finite_differences(name: str) -> None:
    owner, given = standing(name, 3)
    slots = {path: value for path, value in given.slots.items() if value.dtype == torch.float64 and value.any()}
    vectors = [*given.parameters.values(), *given.gradients.values(), *slots.values()]

    def step(*inputs: Any) -> tuple[Tensor, ...]:
        count = len(SHAPES)
        own = dict(zip(SHAPES, inputs[:count], strict=True)), dict(zip(SHAPES, inputs[count : 2 * count], strict=True))
        kept = given.slots | dict(zip(slots, inputs[2 * count :], strict=True))
        after, moved = owner.differentiable({0: Given(*own, kept, given.hyper)})[0]
        return after, *(value for value in moved.values() if value.requires_grad)

    assert torch.autograd.gradcheck(step, [value.detach().requires_grad_() for value in vectors])


@pytest.mark.parametrize("name", NAMES)
def test_a_small_change_has_the_estimated_effect(name: str, tmp_path: Path) -> None:
    train(name, torch.float64, tmp_path)
    study, asked = study_of(tmp_path, torch.float64), Reweight(weight=1.0001)
    estimate, exact = (
        study.score(["early"], ["right"], intervention=asked, estimator=method).effect.item()
        for method in ("first_order", "retraining")
    )
    assert estimate == pytest.approx(exact, rel=0.01) != 0
