"""The share of each example of a batch in the gradient of its loss, told apart where it enters the model's output.

A loss L(z) reads the outputs z of the model, one row z_i an example. With a weight w_i for each row the gradient is

    g(w) = Σ_i w_i J_iᵀ ∂L/∂z_i + r,    J_i = ∂z_i/∂θ,

linear in the weights; r is what no example has a part in, a penalty on the weights. w = 1 is the gradient that was
taken, w_i = 0 leaves the loss of example i out: all others count as before, by the same divisor, and what the example
does to others inside the forward pass (batch statistics) stays. Nothing is asked of the loss but that row i is the
example's: means, sums, losses divided by tokens and class weights are alike.

The rows are looked for in the graph of the loss: on each way from it into the model the first output of a module that
has a row for each example. That is the model's own output, or where the model computes its loss itself, what its head
returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from aadsl.core.errors import AadslError

GraphPlace = tuple[Any, int]
"""A node of the autograd graph, and which of its outputs."""


class Outputs:
    """What the modules of a model returned while it was watched, by their place in the graph."""

    def __init__(self) -> None:
        self._found: dict[GraphPlace, tuple[Tensor, str]] = {}

    def add(self, name: str, output: Any) -> None:
        """Take note of what the module ``name`` returned."""
        for tensor in tree_leaves(_plain(output)):
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                self._found[tensor.grad_fn, tensor.output_nr] = tensor, name  # in place of what an outer one returned

    def rows(self, loss: Tensor, count: int) -> list[Tensor]:
        """Return the outputs that hold a row for each of ``count`` examples and that ``loss`` reads first.

        Raises:
            AadslError: a weight reaches the loss through an output that has no such rows.
        """
        rows: dict[GraphPlace, Tensor] = {}
        waiting: list[tuple[GraphPlace, str]] = [((loss.grad_fn, 0), "")]
        seen: set[tuple[GraphPlace, str]] = set()
        while waiting:
            (node, number), passed = waiting.pop()
            tensor, name = self._found.get((node, number), (None, ""))
            if tensor is not None and tensor.dim() and len(tensor) == count:
                rows[node, number] = tensor
                continue
            if tensor is not None:
                passed = f"{name or 'the model'} returned {tuple(tensor.shape)}"
            if passed and hasattr(node, "variable"):  # a weight, reached past all rows
                raise AadslError(
                    f"the loss terms of single examples cannot be told apart: {passed} for {count} examples, not a row "
                    "for each",
                    hint="let the model return one row an example, and let the loss be computed from that",
                )
            for below, index in node.next_functions:
                if below is not None and ((below, index), passed) not in seen:
                    seen.add(((below, index), passed))
                    waiting.append(((below, index), passed))
        if not rows:
            raise AadslError(
                "the loss terms of single examples cannot be told apart: the loss reads nothing that a module returned",
                hint="let the loss call the model: loss(model, batch)",
            )
        return list(rows.values())


@contextmanager
def watched(model: nn.Module) -> Iterator[Outputs]:
    """Yield what the modules return whose forward passes happen inside the block."""
    outputs = Outputs()
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.add(name, output))
        for name, module in model.named_modules()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def weighted(model: nn.Module, loss: Callable[[], Tensor], weights: Tensor) -> Tensor:
    """Return a loss whose backward pass multiplies what reaches the rows of n examples by ``weights`` (n,).

    Raises:
        AadslError: the examples have no rows of their own.
    """
    with watched(model) as outputs:
        value = loss()
    for rows in outputs.rows(value, len(weights)):
        factors = weights.reshape(-1, *[1] * (rows.dim() - 1))
        rows.register_hook(partial(_times, factors))  # type: ignore[no-untyped-call]
    return value


def _times(factors: Tensor, gradient: Tensor) -> Tensor:
    return gradient * factors.to(gradient.dtype)


def _plain(output: Any) -> Any:
    """Return an output as containers that are looked into: what has fields (Hugging Face's outputs) as a dict."""
    return dict(output) if hasattr(output, "items") else output
