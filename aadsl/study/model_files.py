"""Models written to files that other programs read."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from aadsl.core.errors import AadslError
from aadsl.core.files import replacing


def save_model(model: nn.Module, path: Path) -> None:
    """Write weights and buffers as safetensors; the file appears by renaming, so it is all there or not at all.

    Raises:
        AadslError: the library is not installed, or the file cannot be written.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_model as write
    except ImportError:
        hint = "pip install safetensors; or from Python: torch.save(study.counterfactual(…).state_dict(), …)"
        raise AadslError("saving a model needs safetensors", hint=hint) from None
    with replacing(path) as unfinished:
        try:
            write(model, str(unfinished))
        except SafetensorError as error:
            raise OSError(str(error)) from error
