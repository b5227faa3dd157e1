"""A model against the run that is said to be of it: whether its parameters fit, and which of its buffers matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from aadsl.core.copies import copied
from aadsl.core.errors import AadslError, did_you_mean
from aadsl.core.formats import FORMATS, arranged
from aadsl.core.state import State
from aadsl.core.wrappers import named_parameters, require_initialized
from aadsl.propagation import Layout
from aadsl.trajectory import ParameterSpec, Trajectory


def require_parameters(recorded: Mapping[str, ParameterSpec], model: nn.Module) -> None:
    """Make sure that the model has the parameters that were ``recorded``, all of one precision.

    Raises:
        AadslError: says which one does not fit, or has no shape yet.
    """
    require_initialized(model)
    own = dict(named_parameters(model))
    missing = [name for name in recorded if name not in own]
    _require_ties(recorded, model)
    if missing:
        hint = did_you_mean(missing[0], own) or f"its parameters: {', '.join(list(own)[:8])}"
        if any(part in missing[0].lower() for part in ("lora", "adapter")):
            hint = "are its adapters merged? Give the model as it was trained, and this one as final=merged_model"
        raise AadslError(f'the model has no parameter "{missing[0]}", which the run trained', hint=hint)
    for name, spec in recorded.items():
        if tuple(own[name].shape) != tuple(spec.shape):
            raise AadslError(
                f'parameter "{name}" has shape {tuple(own[name].shape)} in the model, {tuple(spec.shape)} in the run',
                hint="build the model with the sizes that were trained",
            )
    by_dtype = {spec.dtype: name for name, spec in recorded.items()}
    if len(by_dtype) > 1:
        raise AadslError(
            "the trained parameters have several precisions: "
            + ", ".join(f'"{name}" is {dtype}' for dtype, name in by_dtype.items()),
            hint="train them all in one, with torch.autocast for the speed of the other",
        )


def _require_ties(recorded: Mapping[str, ParameterSpec], model: nn.Module) -> None:
    """Make sure that the tensors which are one under several names are those that were one in the run.

    Raises:
        AadslError: weights are tied in the one, and not in the other.
    """
    every = dict(model.named_parameters(remove_duplicate=False))
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, spec in recorded.items():
        for alias in spec.aliases:
            if name in every and alias in every and every[name] is not every[alias]:
                raise AadslError(
                    f'"{name}" and "{alias}" were one tensor in the run (tied weights), and are two in the model',
                    hint=f"tie them in the model that is given: model.{alias} = model.{name}",
                )
        if name in every and (tied := first[id(every[name])]) != name and tied in recorded:
            raise AadslError(
                f'"{tied}" and "{name}" are one tensor in the model (tied weights), and were two in the run',
                hint="give the model as it was when it was trained: untied",
            )


def require_modules(model: nn.Module, texts: Iterable[str]) -> None:
    """Make sure that the model has the modules whose mode was recorded; each text names some.

    Raises:
        AadslError: it lacks one.
    """
    own = dict(model.named_modules())
    for name in dict.fromkeys(name for text in texts for name in text.split()):
        if name not in own:
            raise AadslError(
                f'the model has no module "{name[:100]}", which was in another mode than the rest when it was trained',
                hint=did_you_mean(name[:100], own) or "build the model as it was trained",
            )


def moving_buffers(first: State, last: State) -> list[str]:
    """Return the buffers that are part of the state: those that differ between the first and the last kept state."""
    return [name for name, buffer in first.buffers.items() if not torch.equal(buffer, last.buffers[name])]


def restore_constants(model: nn.Module, trajectory: Trajectory, first: State, moving: list[str]) -> None:
    """Give the buffers that never change the values they had in the run, and weights that do not the memory format."""
    lying = {spec.memory_format for spec in trajectory.parameters.values() if len(spec.shape) in FORMATS}
    if len(lying) == 1:  # that of the others
        for name, parameter in model.named_parameters():
            if name not in trajectory.parameters:
                parameter.data = arranged(parameter.data, *lying)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name in first.buffers and name not in moving:
                buffer.copy_(first.buffers[name])


def loaded(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a model in eval mode with these values of its parameters and buffers, the others as they are.

    The copy is the model inside its wrappers, such as that of ``torch.compile``.
    """
    other = copied(model).eval()
    own = dict(other.named_parameters()) | dict(other.named_buffers())
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
    return other


def slot_of(layout: Layout, values: dict[str, Tensor], like: Tensor, is_counter: bool) -> Tensor | None:
    """Return one optimizer slot of a group as a vector, or its counter; None where PyTorch has not made it yet."""
    present = {name: values[name] for name in layout.names if name in values}
    if not present:
        return None
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    if is_counter or any(tuple(t.shape) != tuple(shapes[name]) for name, t in present.items()):
        return torch.stack([t.reshape(()).double() for t in present.values()]).max().to(like.device)
    return layout.flatten([values.get(name) for name in layout.names], like)
