"""What a model returns, seen while a loss calls it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from aadsl.core.errors import AadslError


@contextmanager
def captured_output(model: nn.Module) -> Iterator[list[Any]]:
    """Yield a list of what the model returns inside the block, call by call."""
    outputs: list[Any] = []
    handle = model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def only_tensor(outputs: list[Any]) -> Tensor:
    """Return the one tensor that a model returned; raise AadslError where it is not one."""
    if len(outputs) == 1 and isinstance(outputs[0], Tensor):
        return outputs[0]
    raise AadslError(
        "gauss_newton needs a loss that calls model(inputs) once and a model that returns one tensor",
        hint="choose the curvature exact() or central_difference()",
    )
