"""What a model must be before anything can be recorded or replayed of it."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from aadsl.core.errors import AadslError


def require_shapes(model: nn.Module) -> None:
    """Make sure that all parameters and buffers of a model have their shapes.

    Raises:
        AadslError: a lazy module has not seen a batch yet.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise AadslError(
                f'"{name}" of the model has no shape yet: its module is lazy, and has seen no batch',
                hint="call the model once on a batch, before the optimizer, the recorder or the study is made",
            )
