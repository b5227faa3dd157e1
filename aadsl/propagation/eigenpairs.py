"""The largest eigenpairs of a behavior's second derivative, by Lanczos on Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from aadsl.propagation.layout import FlatState, zeros_like
from aadsl.propagation.readout import Readout

SEED = 20_011
"""Of the generator of Lanczos' first vector: the same pairs every time, PyTorch's own generators left alone."""


def eigenpairs(
    readout: Readout, state: FlatState, rank: int, chosen: Tensor | None = None
) -> tuple[Tensor, list[FlatState]]:
    """Return the eigenpairs (λ_j, v_j) of ∇²γ(ξ) that are largest in magnitude, over parameters and buffers.

    γ is the mean of the behavior over its examples.

    Args:
        readout: the behavior.
        state: ξ.
        rank: how many pairs; there are fewer where the space has fewer dimensions.
        chosen: (P,) true over the parameters of interest; then the second derivative is that within them.

    Returns:
        (k,) eigenvalues, float64, and as many unit vectors, their optimizer parts zero.
    """
    parts = [state.parameters, state.buffers]
    sizes = [len(part) for part in parts]
    joined = torch.cat(parts)
    mask = torch.ones_like(joined, dtype=torch.bool)
    if chosen is not None:
        mask = torch.cat([chosen, torch.zeros_like(state.buffers, dtype=torch.bool)])
    zero = zeros_like(state)._replace(integers=())

    def spread(vector: Tensor) -> FlatState:
        parameters, buffers = torch.split(torch.zeros_like(joined).masked_scatter_(mask, vector), sizes)
        return zero._replace(parameters=parameters, buffers=buffers)

    def product(vector: Tensor) -> Tensor:
        bent = readout.hessian_product(state, spread(vector))
        return torch.cat([bent.parameters, bent.buffers])[mask]

    values, vectors = lanczos(product, joined[mask], rank)
    return values, [spread(vector) for vector in vectors]


def lanczos_products(rank: int) -> int:
    """Return after how many products Lanczos stops: the largest eigenpairs converge first, the last need not quite."""
    return 2 * rank + 12


def lanczos(product: Callable[[Tensor], Tensor], like: Tensor, rank: int) -> tuple[Tensor, Sequence[Tensor]]:
    """Return up to ``rank`` eigenpairs of a symmetric operator that are largest in magnitude, largest first.

    A q_j = β_{j−1} q_{j−1} + α_j q_j + β_j q_{j+1}, each new q orthogonalized twice against all before it; eigenpairs
    of the tridiagonal (α, β) after :func:`lanczos_products`, or as many as there are dimensions. Where the Krylov
    space is exhausted, β = 0, it goes on with a random vector.

    Args:
        product: v ↦ A v.
        like: a vector of the operator's dimension, dtype and device.
        rank: how many pairs.

    Returns:
        (k,) eigenvalues, float64 on the CPU, and the k unit vectors.
    """
    size = len(like)
    count = min(size, lanczos_products(rank))
    basis = like.new_zeros(count, size)
    tridiagonal = torch.zeros(count, count, dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    rounding = torch.finfo(like.dtype).eps * size**0.5

    def orthogonal(vector: Tensor, known: Tensor) -> tuple[Tensor, float, float]:
        """Return the part of a vector that is orthogonal to the rows of ``known``, its norm, and that of the vector."""
        whole = float(vector.norm())
        for _ in range(2):
            vector = vector - known.T @ (known @ vector)
        return vector, float(vector.norm()), whole

    def random(known: Tensor) -> Tensor:
        drawn = torch.randn(size, generator=generator, dtype=torch.float64).to(like)
        vector, norm, _ = orthogonal(drawn, known)
        return vector / norm

    vector = random(basis[:0])
    for j in range(count):
        basis[j] = vector
        image = product(vector)
        tridiagonal[j, j] = float(torch.dot(image, vector))
        if j + 1 == count:
            break
        rest, beta, whole = orthogonal(image, basis[: j + 1])
        if beta <= rounding * whole:
            vector = random(basis[: j + 1])
            continue
        vector = rest / beta
        tridiagonal[j, j + 1] = tridiagonal[j + 1, j] = beta
    values, mixtures = torch.linalg.eigh(tridiagonal)
    largest = values.abs().argsort(descending=True, stable=True)[:rank]
    return values[largest], list(mixtures[:, largest].T.to(like) @ basis)
