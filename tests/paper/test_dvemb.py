"""DVEmb against its formula with dense matrices, in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from tests.paper.dvemb import dvemb, per_example
from tests.paper.runs import Development, Job, cross_entropies

EXAMPLES = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(12) % 3
PARTS = {
    "plain": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)),
    "BatchNorm": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)),
    "attention": lambda: nn.Sequential(
        nn.Linear(3, 8),
        nn.Unflatten(1, (2, 4)),
        nn.TransformerEncoderLayer(4, 2, 4, 0.0, nn.functional.gelu, batch_first=True, norm_first=True),
        nn.Flatten(),
        nn.Linear(8, 3),
    ),
    "frozen": lambda: nn.Sequential(nn.Linear(3, 4).requires_grad_(False), nn.ReLU(), nn.Linear(4, 3)),
}


def development(make) -> Development:
    torch.manual_seed(0)
    data = EXAMPLES, LABELS
    first = Job("first", data, [np.array(rows) for rows in ([0, 1, 2], [3, 4], [5, 6, 7, 8])], 0.3, 0.5)
    second = Job("second", data, [np.array(rows) for rows in ([9, 10, 11], [0, 5])], 0.1, 0.9)
    stages = {"early": range(1, 2), "across": range(2, 4), "last": range(4, 5)}
    tests = {"one": (EXAMPLES[:5], LABELS[:5]), "two": (EXAMPLES[5:], LABELS[5:])}
    return Development(make().double(), [first, second], stages, tests)


def dense(given: Development, effective: bool) -> dict[str, np.ndarray]:
    """Return −∇ℓ(θ_T)ᵀ Σ_{z in the stage} DVEmb(z), each embedding made by a product of matrices."""
    gradients: list[torch.Tensor] = []  # (B, P) of each step
    rates: list[float] = []

    def rows(model: nn.Module, batch) -> torch.Tensor:
        """Return the gradients of the examples of a batch, (B, P)."""
        losses, at = per_example(model, given.losses, batch)
        return torch.cat([part.flatten(1) for part in jacrev(losses)(at).values()], 1)

    def before_step(model: nn.Module, job: Job, batch) -> None:
        gradients.append(rows(model, batch))
        rates.append(job.lr / (1 - job.momentum if effective else 1) / len(batch[1]))

    model = given.train(before_step).eval()
    slopes = {name: rows(model, examples) for name, examples in given.tests.items()}
    found = {name: np.zeros((len(given.stages), len(slope))) for name, slope in slopes.items()}
    for s, steps in enumerate(given.stages.values()):
        for t in steps:
            product = torch.eye(gradients[0].shape[1], dtype=torch.float64)
            for later in range(t + 1, given.length):
                product = (torch.eye(len(product)) - rates[later] * gradients[later].T @ gradients[later]) @ product
            for gradient in gradients[t]:
                embedding = rates[t] * product @ gradient
                for name, slope in slopes.items():
                    found[name][s] += (slope @ embedding).numpy()  # θ_T moved by −embedding, γ = −ℓ
    return found


@pytest.mark.parametrize("effective", [False, True])
@pytest.mark.parametrize("kind", PARTS)
def test_it_is_the_product_of_dense_matrices(kind: str, effective: bool) -> None:
    given = development(PARTS[kind])
    found, expected = dvemb(given, effective), dense(given, effective)
    for name, values in expected.items():
        assert np.abs(values).max(axis=1).min() > 1e-4, "every stage does something"
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-14)


def test_it_tells_the_effect_of_the_last_step_of_plain_sgd() -> None:
    """No step comes after it, so all that is left out is the second order of a small step; helpful is positive."""
    given = development(PARTS["plain"])
    for job in given.jobs:
        object.__setattr__(job, "momentum", 0.0)
        object.__setattr__(job, "weight_decay", 0.0)
        object.__setattr__(job, "lr", 1e-4)
    before = {}

    def keep(model: nn.Module, job: Job, batch) -> None:
        before.update({name: value.detach().clone() for name, value in model.named_parameters()})

    model = given.train(keep)
    examples = given.tests["one"]
    at_end = -cross_entropies(model, examples)
    without = -cross_entropies(lambda x: functional_call(model, before, (x,)), examples)
    np.testing.assert_allclose(dvemb(given)["one"][2], (at_end - without).detach().numpy(), rtol=1e-3)


def test_it_leaves_running_statistics_alone() -> None:
    model = PARTS["BatchNorm"]().double()
    losses, at = per_example(model, cross_entropies, (EXAMPLES, LABELS))
    losses(at)
    assert model[1].num_batches_tracked == 0 and not model[1].running_mean.any()
