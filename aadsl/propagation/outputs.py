"""What a model returns, seen from outside the loss that calls it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from aadsl.core.errors import AadslError


@contextmanager
def captured_output(model: nn.Module) -> Iterator[list[Any]]:
    """Yield the list that the outputs of a model's forward passes are added to."""
    outputs: list[Any] = []
    handle = model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def only_tensor(outputs: list[Any]) -> Tensor:
    """Return the one output. Raises AadslError where there are others, or it is no tensor."""
    if len(outputs) == 1 and isinstance(outputs[0], Tensor):
        return outputs[0]
    raise AadslError(
        "gauss_newton needs a loss that calls model(inputs) once and a model that returns one tensor",
        hint="choose the curvature exact() or central_difference()",
    )
