"""Adversarial training: a first pass makes of a batch what the step trains on, and its gradients are thrown away."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.situations.harness import STEPS, Loop, Situation, Try, batch, cross_entropy, dropout, mlp, normalized, rows


def loss_of_perturbed(rounds: int, random: bool = False) -> Callable[[nn.Module, tuple[Tensor, Tensor]], Tensor]:
    """Return the loss of examples that so many ``rounds`` of sign gradients moved, as a study is given it."""

    def loss(model: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
        moved = given[0] + 0.1 * torch.rand_like(given[0]) if random else given[0].clone()
        for _ in range(rounds):
            moved.requires_grad_()
            (slope,) = torch.autograd.grad(cross_entropy(model, (moved, given[1])), moved)
            moved = (moved + 0.1 * slope.sign()).detach()
        return cross_entropy(model, (moved, given[1]))

    return loss


def adversarial(
    rounds: int = 1,
    random: bool = False,
    model: Callable[[], nn.Module] = mlp,
    set_to_none: bool = True,
    late: bool = False,
) -> Loop:
    """Return a loop that announces its batch first; ``late``: gradients are set to nothing after the second pass."""

    def loop(run: Try) -> nn.Module:
        net = model()
        torch.manual_seed(5)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        recorder = run.recorder(net, optimizer)
        for step in range(STEPS):
            if not (list(net.buffers()) and run.leaves_out):
                inputs, targets = batch(step)
                recorder.batch(indices=rows(step))
                moved = inputs + 0.1 * torch.rand_like(inputs) if random else inputs.clone()
                for _ in range(rounds):
                    moved.requires_grad_()
                    cross_entropy(net, (moved, targets)).backward()
                    moved = (moved + 0.1 * moved.grad.sign()).detach()
                if late:
                    loss = cross_entropy(net, (moved, targets))
                    optimizer.zero_grad(set_to_none)
                else:
                    optimizer.zero_grad(set_to_none)
                    loss = cross_entropy(net, (moved, targets))
                loss.backward()
            run.step(optimizer)
            optimizer.zero_grad(set_to_none)
        recorder.close()
        return net

    return loop


ADVERSARIAL = {
    "examples are moved once": Situation(adversarial(), loss=loss_of_perturbed(1)),
    "examples are moved, gradients are set to zero": Situation(
        adversarial(set_to_none=False), loss=loss_of_perturbed(1)
    ),
    "examples are moved from a random start": Situation(
        adversarial(3, random=True, model=dropout), loss=loss_of_perturbed(3, random=True), model=dropout
    ),
    "examples are moved, with batch normalization": Situation(
        adversarial(model=normalized), loss=loss_of_perturbed(1), model=normalized
    ),
    "examples are moved, gradients discarded late": Situation(
        adversarial(late=True, model=dropout), loss=loss_of_perturbed(1), model=dropout
    ),
    "examples are moved, and the loss does not do it": Situation(adversarial(), "refused"),
}
"""Situations by name."""
