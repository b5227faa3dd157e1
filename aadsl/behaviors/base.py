"""What a behavior is: a performance function of the final model, one number an example."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from aadsl.core.errors import AadslError

CERTAIN = 8  # rows in half precision that have the sum 1 by no chance


@runtime_checkable
class Metric(Protocol):
    """A performance function.

    Attributes:
        differentiable: False where it has no useful gradient: then only exact retraining can tell its effects.
        higher_is_better: whether a positive effect means that the stage helped.
        unit: the unit of its numbers.
        limits: the least and the most that they can be.
    """

    @property
    def differentiable(self) -> bool: ...  # noqa: D102

    @property
    def higher_is_better(self) -> bool: ...  # noqa: D102

    @property
    def unit(self) -> str: ...  # noqa: D102

    @property
    def limits(self) -> tuple[float, float]: ...  # noqa: D102

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return one number an example, (n,), from a batch of examples."""
        ...


def inputs_and_targets(examples: Any) -> tuple[Any, Tensor]:
    """Return a batch's two parts.

    Raises:
        AadslError: the batch is not a pair of inputs and targets.
    """
    if isinstance(examples, (tuple, list)) and len(examples) == 2:
        return examples[0], examples[1]
    raise AadslError(
        "this behavior needs examples that are pairs of inputs and targets",
        hint="give on=(inputs, targets), or a callable fn(model, examples) that knows the examples' form",
    )


def unwrapped(output: Any) -> Any:
    """Return the ``logits`` of an output that has such an attribute, any other output as it is."""
    return getattr(output, "logits", output)


def logits(model: nn.Module, inputs: Any) -> Tensor:
    """Return the model's class scores (n, classes); outputs with a ``logits`` attribute are unwrapped.

    Of a model that ends in a softmax they are the logarithms of its outputs.

    Raises:
        AadslError: the output is not a matrix of scores.
    """
    output = unwrapped(model(inputs))
    if not isinstance(output, Tensor) or output.dim() != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise AadslError(
            f"this behavior needs class scores of shape (examples, classes) from model(inputs), which gave {shape}",
            hint="for other models give a callable fn(model, examples) that returns one number an example",
        )
    return scores_of(output)


def scores_of(output: Tensor) -> Tensor:
    """Return scores over the last dimension: ``output``, or its logarithm where it holds probabilities.

    Log-probabilities are scores as they are: log softmax leaves them alone. Probabilities are told by their rows, none
    negative and each with the sum 1 up to rounding. Of a few rows in half precision chance may make such.
    """
    classes = output.shape[-1]
    if classes < 2 or not output.is_floating_point() or bool((output.detach() < 0).any()):
        return output
    rounding = torch.finfo(output.dtype).eps * max(4, classes)
    sums = output.detach().sum(dim=-1)
    if sums.numel() < (1 if output.dtype in (torch.float32, torch.float64) else CERTAIN):
        return output
    if not bool(((sums - 1).abs() <= rounding).all()):
        return output
    logarithms = output.clamp(min=torch.finfo(output.dtype).tiny).log()
    return logarithms.masked_fill(output.detach() == 0, float("-inf"))
