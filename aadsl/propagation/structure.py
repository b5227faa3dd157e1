"""Structured approximations of the Hessian (the paper's knobs): parts of it are taken to be zero.

With Hessian-vector products the full propagator costs no more than these; they are here to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.propagation.curvature import Cotangent, Curvature, Exact, Pair, Point
from aadsl.propagation.layout import Layout
from aadsl.propagation.objective import Objective


class _Diagonal:
    """Σ_B P_B H P_B over blocks B of the flat parameters: one product of the inner curvature for each block."""

    curvature: Curvature

    def blocks(self, layout: Layout) -> Iterator[slice]:
        """Yield the stretches of the flat vector that are blocks."""
        raise NotImplementedError

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return the products of the block-diagonal Hessian; running statistics keep their full derivative."""
        still = [torch.zeros_like(c) for c, _ in cotangents]
        whole = self.curvature.pullback(objective, point, [(z, w) for z, (_, w) in zip(still, cotangents, strict=True)])
        results = list(whole)
        for block in self.blocks(objective.parameters):
            parts = self.curvature.pullback(objective, point, [(_only(c, block), None) for c, _ in cotangents])
            results = [(r + _only(p, block), b) for (r, b), (p, _) in zip(results, parts, strict=True)]
        return results

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the products of the block-diagonal Hessian; running statistics keep their full derivative."""
        whole = self.curvature.pushforward(objective, point, tangents)
        results = [(torch.zeros_like(change), buffers) for change, buffers in whole]
        for block in self.blocks(objective.parameters):
            parts = self.curvature.pushforward(
                objective, point, [(_only(e, block), torch.zeros_like(b)) for e, b in tangents]
            )
            results = [(r + _only(p, block), b) for (r, b), (p, _) in zip(results, parts, strict=True)]
        return results


@checked
@dataclass(frozen=True)
class Layerwise(_Diagonal):
    """One block for each module: layers are taken not to interact; costs one product a layer.

    Attributes:
        curvature: how the product of each block is computed.
    """

    curvature: Curvature = field(default_factory=Exact)

    def blocks(self, layout: Layout) -> Iterator[slice]:
        """Yield the stretch of each module's own parameters."""
        owners = [name.rpartition(".")[0] for name in layout.names]
        start = 0
        for position, owner in enumerate(owners):
            if position + 1 == len(owners) or owners[position + 1] != owner:
                yield slice(layout.offsets[start], layout.offsets[position + 1])
                start = position + 1


@checked
@dataclass(frozen=True)
class Blockwise(_Diagonal):
    """Blocks of equally many neighboring parameters; costs one product a block.

    Attributes:
        size: number of parameters in a block.
        curvature: how the product of each block is computed.
    """

    size: int
    curvature: Curvature = field(default_factory=Exact)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise AadslError(f"a block needs at least one parameter, size={self.size}")

    def blocks(self, layout: Layout) -> Iterator[slice]:
        """Yield stretches of ``size``."""
        for start in range(0, layout.size, self.size):
            yield slice(start, min(start + self.size, layout.size))


@dataclass(frozen=True, eq=False)
class Restricted:
    """P H P, with P the projection onto chosen parameters: the others are taken not to react.

    Attributes:
        curvature: how the product is computed.
        mask: (P,) true over the chosen parameters.
    """

    curvature: Curvature
    mask: Tensor

    def pullback(self, objective: Objective, point: Point, cotangents: Sequence[Cotangent]) -> list[Pair]:
        """Return the products within the chosen parameters."""
        chosen = [(c * self.mask, w) for c, w in cotangents]
        pulled = self.curvature.pullback(objective, point, chosen)
        return [(product * self.mask, buffers) for product, buffers in pulled]

    def pushforward(self, objective: Objective, point: Point, tangents: Sequence[Pair]) -> list[Pair]:
        """Return the products within the chosen parameters."""
        chosen = [(e * self.mask, b) for e, b in tangents]
        pushed = self.curvature.pushforward(objective, point, chosen)
        return [(product * self.mask, buffers) for product, buffers in pushed]


def _only(vector: Tensor, block: slice) -> Tensor:
    kept = torch.zeros_like(vector)
    kept[block] = vector[block]
    return kept
