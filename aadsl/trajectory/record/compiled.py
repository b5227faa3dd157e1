"""Whether a compiled model draws random numbers that no replay has: those of the compiler, unless it is told not to.

Inductor draws the numbers of dropout from a generator of its own; with ``fallback_random`` as PyTorch does.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

OWN_NUMBERS = "inductor drew random numbers of its own"
"""What a run that was recorded so has for ``compiled`` in its provenance."""


def own_numbers(model: nn.Module) -> bool:
    """Return whether a part of a model is compiled, and draws numbers that a replay does not have; say so before."""
    chosen = getattr(sys.modules.get("torch._inductor.config"), "fallback_random", False)
    parts = [part for part, config in _compiled(model) if not (chosen or config.get("fallback_random"))]
    found = next((name for part in parts for name in _drawing(part)), None)
    if found is None:
        return False
    warnings.warn(
        f"the model is compiled, and inductor draws what it drops ({found}) from a generator of its own, which no "
        "replay has, so that nothing can be asked of the run: say torch._inductor.config.fallback_random = True before "
        "the first step, or do not compile what drops",
        stacklevel=5,
    )
    return True


def _compiled(model: nn.Module) -> Iterator[tuple[nn.Module, Mapping[str, Any]]]:
    """Yield the parts that inductor compiles, with its configuration."""
    for module in model.modules():
        for known, attribute in (("dynamo_ctx", "compiler_config"), ("_compiled_call_impl", "get_compiler_config")):
            config = getattr(vars(module).get(known), attribute, None)
            config = config() if callable(config) else config
            if isinstance(config, Mapping):  # other backends have none
                yield module, config


def _drawing(model: nn.Module) -> Iterator[str]:
    """Yield the class of each module that has a rate of dropout, as nn.Dropout and attention do."""
    for module in model.modules():
        for name, value in vars(module).items():
            rate = (name == "p" or "drop" in name) and isinstance(value, float) and 0 < value < 1
            if rate and (name != "p" or isinstance(module, nn.modules.dropout._DropoutNd)):
                yield type(module).__name__
