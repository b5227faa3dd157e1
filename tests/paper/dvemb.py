"""Data value embedding (DVEmb), the baseline of the paper's Tables 1 and 2, as small and plain as it can be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.paper.runs import Batch, Development, Job, Losses

Named = dict[str, Tensor]


def dvemb(development: Development, effective: bool = False) -> Mapping[str, NDArray[np.float64]]:
    """Return the effect of each stage on each example of each test set, {test set: (S, n)}.

    Wang et al., "Capturing the Temporal Dependence of Training Data Influence" (ICLR 2025), embed example z of step s
    as

        DVEmb_s(z) = η_s [∏_{t>s} (I − η_t H_t)] ∇ℓ(θ_s, z),     H_t ≈ Σ_{z'∈B_t} ∇ℓ(θ_t, z') ∇ℓ(θ_t, z')ᵀ

    for plain SGD on sums of losses: their Gauss-Newton-like matrix stands for the Hessian, and momentum and weight
    decay are unknown to it. Its product with the gradient of a test example is what that example's loss owes to z. As
    in the paper that is reproduced here, a stage has the sum of what its batches' examples have. Batches here have
    mean losses, so η_t/|B_t| stands for η_t. The sum is carried forward,

        e_{t+1} = (I − η H) e_t − η Σ_{z∈B_t} ∇ℓ(θ_t, z) [t ∈ S],

    and read as ⟨∇γ(θ_T), e_T⟩, positive where the stage helped.

    ``effective``: η/(1 − μ) in the place of η, which is what momentum makes of the rate in the long run.
    """
    member, numbers = development.member, iter(range(development.length))
    carried: list[Named | None] = [None] * len(member)

    def before_step(model: nn.Module, job: Job, batch: Batch) -> None:
        t, eta = next(numbers), job.lr / (1 - job.momentum if effective else 1)
        for s, e in enumerate(carried):
            if e is not None or member[s, t]:
                carried[s] = embedded(model, development.losses, batch, e, eta, float(member[s, t]))

    model = development.train(before_step).eval()
    found = {}
    for name, examples in development.tests.items():
        losses, at = per_example(model, development.losses, examples)
        rows = [np.zeros(len(examples[0])) if e is None else -jvp(losses, (at,), (e,))[1].numpy() for e in carried]
        found[name] = np.stack(rows).astype(float)
    return found


def embedded(model: nn.Module, losses: Losses, batch: Batch, e: Named | None, eta: float, inside: float) -> Named:
    """Return (I − η/B Σ_i g_i g_iᵀ) e − inside · η/B Σ_i g_i; no gradient g_i of a single example is formed."""
    each, at = per_example(model, losses, batch)
    e = e or {name: torch.zeros_like(value) for name, value in at.items()}
    along = jvp(each, (at,), (e,))[1]
    values, pullback = vjp(each, at)
    (update,) = pullback((along + inside) / len(values))
    return {name: e[name] - eta * update[name] for name in e}


def per_example(model: nn.Module, losses: Losses, batch: Batch):
    """Return the losses of a batch as a function of the trained parameters, and these; the model is left as it is."""
    at = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}

    def each(parameters: Named) -> Tensor:
        # Copies made in here, which transforms of this function may let a layer write to.
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        with plain_attention():
            return losses(lambda *inputs: functional_call(model, {**buffers, **parameters}, inputs), batch)

    return each, at


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attend without the fused kernels, which have no forward derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
