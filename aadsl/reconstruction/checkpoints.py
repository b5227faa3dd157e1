"""Checkpoints as training loops write them: weights, and the state of the optimizer where it was kept."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aadsl.core.arguments import shown
from aadsl.core.errors import AadslError
from aadsl.core.files import expanded
from aadsl.replayed.given import bare_name
from aadsl.trajectory.store.fingerprints import tensor_digest

GivenCheckpoint: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Callable[[], Any]
"""A file, what is in one, or what loads that."""

WEIGHTS = ("model", "model_state_dict", "state_dict")
OPTIMIZER = ("optimizer", "optimizer_state_dict", "optimizer_states")


@dataclass(frozen=True)
class Checkpoint:
    """What was kept before a step.

    Attributes:
        step: how many steps had been taken.
        weights: parameters and buffers of the model by name.
        optimizers: the state dict of each optimizer; None where none was kept.
    """

    step: int
    weights: dict[str, Tensor]
    optimizers: tuple[Mapping[str, Any], ...] | None

    @classmethod
    def read(cls, step: int, given: GivenCheckpoint) -> Checkpoint:
        """Read the checkpoint that was kept before a step.

        Raises:
            AadslError: it cannot be read, or holds no weights.
        """
        content = _content(step, given)
        if isinstance(content, nn.Module):
            content = content.state_dict()
        if not isinstance(content, Mapping):
            raise _unfit(step, f"holds a {type(content).__name__}")
        own = next((content[key] for key in WEIGHTS if isinstance(content.get(key), (Mapping, nn.Module))), content)
        weights = own.state_dict() if isinstance(own, nn.Module) else own
        tensors = {bare_name(str(name)): value for name, value in weights.items() if isinstance(value, Tensor)}
        if not tensors:
            raise _unfit(step, f"holds {', '.join(map(str, list(content)[:5])) or 'nothing'}")
        states = None if own is content else next((content[key] for key in OPTIMIZER if content.get(key)), None)
        if isinstance(states, Mapping):
            states = (states,)
        return cls(step, tensors, None if states is None else tuple(states))

    @property
    def digest(self) -> str:
        """A digest of its content."""
        kept = hashlib.sha256()
        _feed(kept, [self.step, self.weights, self.optimizers])
        return kept.hexdigest()[:32]

    def put_into(self, model: nn.Module) -> None:
        """Load the weights.

        Raises:
            AadslError: they are those of another model.
        """
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()[1:3]]
            hint = "give the model that was trained, and its state dict"
            raise AadslError(
                f"the checkpoint of step {self.step} does not fit: {' '.join(lines)}", hint=hint
            ) from error

    def put_into_optimizers(self, optimizers: Sequence[Optimizer]) -> None:
        """Load the states, if they were kept.

        Raises:
            AadslError: they are those of other optimizers.
        """
        if self.optimizers is None:
            return
        try:
            for one, state in zip(optimizers, self.optimizers, strict=True):
                one.load_state_dict(copy.deepcopy(dict(state)))  # its tensors would be trained
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AadslError(
                f"the optimizer's state in the checkpoint of step {self.step} does not fit: {error}",
                hint="optimizer(params) has to make the optimizer that trained, with its parameters in the same groups",
            ) from error

    def rates(self) -> list[Any]:
        """Return the learning rate of each parameter group, as far as it is known."""
        return [group.get("lr") for state in self.optimizers or () for group in state.get("param_groups", ())]


def _content(step: int, given: GivenCheckpoint) -> Any:
    if not isinstance(given, (str, os.PathLike)):
        return given() if callable(given) and not isinstance(given, nn.Module) else given
    path = expanded(given)
    try:
        if path.suffix == ".safetensors":
            return _of_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except AadslError:
        raise
    except Exception as error:  # whatever PyTorch makes of a file of another kind
        said = getattr(error, "strerror", None) or str(error).splitlines()[0]
        hint = ""
        if type(error).__name__ == "UnpicklingError":
            said = "it holds more than tensors and numbers, which might run code when it is loaded"
            hint = f"if you trust it, load it yourself: {{{step}: lambda: torch.load(…, weights_only=False)}}"
        raise AadslError(f"the checkpoint of step {step}, {path}, cannot be read: {said}", hint=hint) from error


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise AadslError("reading it needs safetensors", hint="pip install safetensors") from None
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def _unfit(step: int, said: str) -> AadslError:
    return AadslError(
        f"the checkpoint of step {step} has no weights: it {said}",
        hint='give {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, a file of it, or weights alone',
    )


def require_checkpoints(given: Mapping[Any, Any]) -> list[int]:
    """Return the steps of which there are checkpoints, ascending.

    Raises:
        AadslError: there are less than two, or a key is no number of steps.
    """
    for step in given:
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            hint = "checkpoints={0: …, 500: …}: after how many steps each was kept"
            raise AadslError(f"{shown(step)} is no number of steps", hint=hint)
    if len(given) < 2:
        hint = "each stretch is trained again from one checkpoint to the next; the first may be the untrained model"
        raise AadslError("there are no two checkpoints", hint=hint)
    return sorted(given)


def _feed(kept: Any, value: Any) -> None:
    """Add a nested value to a hash."""
    if isinstance(value, Tensor):
        kept.update(tensor_digest(value).encode())
    elif isinstance(value, Mapping):
        _feed(kept, [part for item in value.items() for part in item])
    elif isinstance(value, (list, tuple)):
        kept.update(f"{len(value)} parts".encode())
        for part in value:
            _feed(kept, part)
    else:
        kept.update(f"{value!r};".encode())
