"""Every step function gives the bits of torch.optim, whatever its options."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from aadsl.dynamics import DYNAMICS, fused_step, has_fused_step
from aadsl.propagation.layout import Layout
from tests.optimizers import CASES, OPTIMIZERS, class_named, hyper


def test_the_cases_cover_the_table() -> None:
    assert set(OPTIMIZERS) == set(DYNAMICS)


@pytest.mark.parametrize("how", [{"foreach": False}, {"foreach": True}], ids=["loop", "foreach"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda case: str(case))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fifty_steps_give_the_bits_of_torch_optim(name: str, options: dict, how: dict, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(1009, generator=generator, dtype=dtype))
    optimizer = class_named(name)([parameter], **options, **how)
    own, dynamics = parameter.detach().clone(), DYNAMICS[name]
    slots = dynamics.initial(own, hyper(optimizer.param_groups[0]))
    for t in range(50):
        dead = torch.rand(1009, generator=generator) < 0.1
        parameter.grad = torch.randn(1009, generator=generator, dtype=dtype).masked_fill(dead, 0)
        optimizer.param_groups[0]["lr"] = options["lr"] * (1 - t / 100)
        optimizer.step()
        own, slots = dynamics.step(own, slots, parameter.grad, hyper(optimizer.param_groups[0]))
    assert torch.equal(own, parameter.detach())


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if OPTIMIZERS[case[0]].fused], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("first", [0, 3])
def test_fused_steps_give_the_bits_of_fused_kernels(name: str, options: dict, dtype: torch.dtype, first: int) -> None:
    """Those depend on where a tensor ends: each of several is a tensor of its own, from step ``first`` on."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(size, generator=generator, dtype=dtype)) for size in (1009, 7, 16, 1)]
    optimizer = class_named(name)(parameters, **options, fused=True)
    layout, dynamics = Layout.of({str(place): p.shape for place, p in enumerate(parameters)}), DYNAMICS[name]
    fused = partial(fused_step, views=layout.views)
    for t in range(20):
        scalars = hyper(optimizer.param_groups[0])
        assert has_fused_step(dynamics, scalars)
        if t == first:
            own = layout.flatten([p.detach() for p in parameters], torch.empty(0, dtype=dtype))
            names = [n for n, value in optimizer.state[parameters[0]].items() if value is not None]
            recorded = {
                n: optimizer.state[parameters[0]][n]
                if n == "step"
                else layout.flatten([optimizer.state[p][n] for p in parameters], own)
                for n in names
            }
            slots = dynamics.restore(recorded, dynamics.initial(own, scalars))
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=dtype)
        optimizer.step()
        if t >= first:
            gradient = layout.flatten([p.grad for p in parameters], own)
            kept = gradient.clone()
            plain, _ = dynamics.step(own, slots, gradient, scalars)
            own, slots = fused(dynamics, own, slots, gradient, scalars)
            assert torch.allclose(plain, own, rtol=1e-5, atol=1e-6) and torch.equal(gradient, kept)
            assert all(torch.equal(a, b) for a, b in zip(layout.views(own), parameters, strict=True)), t


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda case: str(case))
def test_a_state_restored_from_torch_goes_on_with_the_same_bits(name: str, options: dict) -> None:
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 33))
    optimizer = class_named(name)([parameter], **options)
    for t in range(6):
        if t == 3:
            own, scalars = parameter.detach().clone(), hyper(optimizer.param_groups[0])
            recorded = {slot: value for slot, value in optimizer.state[parameter].items() if value is not None}
            slots = DYNAMICS[name].restore(recorded, DYNAMICS[name].initial(own, scalars))
        parameter.grad = torch.sin(parameter.detach() * (t + 1))
        if t >= 3:
            own, slots = DYNAMICS[name].step(own, slots, parameter.grad, scalars)
        optimizer.step()
    assert torch.equal(own, parameter.detach())


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "RAdam"])
def test_the_derivative_at_a_zero_second_moment_is_finite_and_zero(name: str) -> None:
    """Where every gradient was zero so far the textbook derivative is 0·∞; the chosen one leaves θ alone."""
    parameter = torch.zeros(2)
    group = hyper(class_named(name)([torch.nn.Parameter(parameter)], lr=0.1).param_groups[0])
    slots = DYNAMICS[name].initial(parameter, group)
    if "step" in slots:
        slots["step"] += 9  # RAdam divides by no moment before
    inputs = {slot: value.clone().requires_grad_(True) for slot, value in slots.items()}
    gradient = torch.tensor([0.0, 1.0], requires_grad=True)
    after, _ = DYNAMICS[name].step(parameter, inputs, gradient, group)
    found = torch.autograd.grad(after.sum(), [gradient, *inputs.values()], allow_unused=True)
    assert all(bool(torch.isfinite(f).all()) for f in found if f is not None)
    second = [f for f, slot in zip(found[1:], inputs, strict=True) if slot in ("exp_avg_sq", "square_avg", "sum")]
    assert second and float(second[0][0]) == 0.0
