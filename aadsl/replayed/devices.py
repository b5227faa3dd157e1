"""Where to compute: the devices that PyTorch has here."""

from __future__ import annotations

import torch

from aadsl.core.errors import AadslError, did_you_mean


def device_of(name: str | torch.device) -> torch.device:
    """Return the device called ``name``; ``"auto"`` is a GPU where there is one, else the CPU.

    Raises:
        AadslError: PyTorch cannot compute on it here.
    """
    known = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if name == "auto":
        return torch.device(known[-1])
    try:
        torch.zeros((), device=name).cpu()  # a device without memory ("meta") cannot compute either
        return torch.device(name)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        close = did_you_mean(str(name), ["auto", *known])
        hint = " ".join(filter(None, [close, f'here there is: {", ".join(known)}; "auto" takes the best']))
        raise AadslError(f'PyTorch cannot compute on "{name}" here', hint=hint) from error
