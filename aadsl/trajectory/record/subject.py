"""What is recorded of a model and its optimizers: names, states, hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.core.formats import format_of
from aadsl.core.wrappers import (
    named_buffers,
    named_modules,
    named_parameters,
    require_initialized,
    require_one_device,
    unwrapped,
)
from aadsl.dynamics import leaves
from aadsl.trajectory.record.average import FollowedAverage
from aadsl.trajectory.record.compiled import own_numbers
from aadsl.trajectory.record.group_scalars import GroupScalars, Scalars
from aadsl.trajectory.store.specs import ParameterSpec
from aadsl.trajectory.store.tensors import StateEntry, dtype_name


def unwrapped_optimizer(optimizer: Any) -> Optimizer:
    """Return the torch optimizer inside wrappers that have it as ``.optimizer``, as Accelerate's has."""
    given = optimizer
    while (inner := getattr(optimizer, "optimizer", None)) is not None and inner is not optimizer:
        optimizer = inner
    optimizer = optimizer if isinstance(optimizer, Optimizer) else given
    if not isinstance(optimizer, Optimizer):
        hint = "pass the object whose step() the training loop calls"
        if hasattr(optimizer, "step") and hasattr(optimizer, "param_groups"):
            hint = "what moves weights beside the optimizer within it cannot be followed: train with a torch.optim one"
        raise AadslError(f"the optimizer is a {type(optimizer).__name__}, not a torch.optim.Optimizer", hint=hint)
    return optimizer


class Subject:
    """A model and its optimizers, whose parameter groups are numbered one optimizer after the other.

    Args:
        model: what is trained.
        optimizer: what trains it; or a sequence of those that do, each parameter in one of them.
        averaged: an average of its weights that is followed, as :class:`FollowedAverage` takes it; None where none is.

    Attributes:
        optimizers: they, unwrapped.
        groups: the number of the first parameter group of each, and how many there are as the last entry.
        parameters: what they train by its name in the model: what PyTorch gives no gradient, they do not.
        specs, buffer_specs: their descriptions.
        samples: the smallest trained parameter, and the smallest buffer.
        idle: what the optimizers have, but do not train, by name.
        average: the average that is followed.
        draws_own_numbers: whether the model is compiled, and draws random numbers that no replay has.

    Raises:
        AadslError: an optimizer is none, has what is not in the model, or what another one trains; nothing is trained.
    """

    def __init__(self, model: nn.Module, optimizer: Any, averaged: Any = None) -> None:
        self.model, self.draws_own_numbers = unwrapped(model), own_numbers(model)
        require_initialized(self.model)
        require_one_device(model)
        given = optimizer if isinstance(optimizer, Sequence) and len(optimizer) else [optimizer]
        self.optimizers = [unwrapped_optimizer(one) for one in given]
        self._counts = [(one, len(one.param_groups)) for one in self.optimizers]
        self.groups = [0, *accumulate(count for _, count in self._counts)]
        self.modules = dict(named_modules(self.model))
        names: dict[int, list[str]] = {}
        for name, parameter in named_parameters(self.model, remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        self.parameters: dict[str, nn.Parameter] = {}
        self.specs: dict[str, ParameterSpec] = {}
        self.idle: dict[str, nn.Parameter] = {}
        self._owners: dict[str, Optimizer] = {}
        for group, (owner, content) in enumerate((one, each) for one in self.optimizers for each in one.param_groups):
            for parameter in content["params"]:
                name, *aliases = names.get(id(parameter)) or self._refuse_stranger(parameter)
                if not parameter.requires_grad:
                    self.idle[name] = parameter
                    continue
                if name in self.parameters:
                    raise AadslError(f'two of the optimizers train "{name}"', hint="leave it in one of them")
                self.parameters[name], self._owners[name] = parameter, owner
                self.specs[name] = _spec(name, parameter, group, aliases)
        if not self.parameters:
            raise AadslError(
                "the model has no trainable parameters in this optimizer",
                hint="parameters need requires_grad=True and must be in the optimizer's groups",
            )
        self.buffer_specs = {name: _spec(name, buffer, -1, []) for name, buffer in named_buffers(self.model)}
        self.frozen = {name: frozen for name, frozen in named_parameters(self.model) if name not in self.parameters}
        self._trained = list(self.parameters.values())
        buffers = [buffer for _, buffer in named_buffers(self.model)]
        self.samples = [min(some, key=Tensor.numel).detach() for some in (self._trained, buffers) if some]
        self._witness = self._trained[0]
        self._dtype = self._witness.dtype
        self._hyperparameters = GroupScalars(self.optimizers)
        floating = [name for name, buffer in named_buffers(self.model) if buffer.is_floating_point()]
        followed = averaged, self.parameters, self.specs, floating
        self.average = None if averaged is None else FollowedAverage(*followed)

    def _refuse_stranger(self, parameter: Tensor) -> list[str]:
        hint = "put all modules the optimizer trains into one nn.Module and record that"
        lower = [own for own in self.model.parameters() if own.dtype in (torch.bfloat16, torch.float16)]
        flat = parameter.dim() == 1 and all(own.numel() < parameter.numel() for own in lower)  # many in one
        if parameter.dtype == torch.float32 and lower and (flat or any(own.shape == parameter.shape for own in lower)):
            hint = (
                "these seem to be float32 copies of the weights of a model in lower precision: let an optimizer over "
                "the model's own weights keep them in its state (tutorials/loops/master_weights.py), or keep the model "
                "in float32 and train it under torch.autocast, which lowers the precision of the pass and is recorded"
            )
        shape = tuple(parameter.shape)
        raise AadslError(
            f"the optimizer updates a tensor of shape {shape} that is no parameter of the model", hint=hint
        )

    def replace(self, optimizer: Optimizer, other: Optimizer) -> None:
        """Let another optimizer, which trains the same, take the place of one."""
        self.optimizers[self.optimizers.index(optimizer)] = other
        self._counts = [(one, len(one.param_groups)) for one in self.optimizers]
        self._owners = {name: other if owner is optimizer else owner for name, owner in self._owners.items()}
        self._hyperparameters = GroupScalars(self.optimizers)

    def entries(self) -> Iterator[StateEntry]:
        """Yield every tensor of the present state."""
        for name, parameter in self.parameters.items():
            yield StateEntry("parameters", "", name, parameter)
        for name, parameter in self.parameters.items():
            for slot, value in self._owners[name].state.get(parameter, {}).items():
                for path, leaf in leaves(value, str(slot)):
                    yield StateEntry("optimizer", path, name, leaf)
        for name, buffer in named_buffers(self.model):
            yield StateEntry("buffers", "", name, buffer)
        if self.average is not None:
            yield from self.average.entries()

    def fresh_groups(self) -> list[int]:
        """Return the groups whose optimizer took no step: it holds no state, or has counted none (as Adagrad at first).

        Where it counts no steps, it holds nothing but zeros.
        """
        return [
            group
            for optimizer, first, end in zip(self.optimizers, self.groups, self.groups[1:], strict=False)
            if _is_fresh(optimizer)
            for group in range(first, end)
        ]

    def require_unchanged(self) -> None:
        """Raise AadslError where the coming step trains something else than when recording began.

        This is what a look that costs nothing sees; :meth:`require_unchanged_tensors` sees more.
        """
        for name, parameter in self.idle.items():
            if parameter.grad is not None:
                raise _changed(f'"{name}" did not require gradients when recording began, and is trained now')
        for one, count in self._counts:
            if len(one.param_groups) != count:
                raise _changed("the optimizer was given another parameter group after recording began")
        if self._witness.dtype is not self._dtype:
            self.require_unchanged_tensors()

    def require_unchanged_tensors(self) -> None:
        """Raise AadslError where a parameter, its dtype or its shape is another one than when recording began."""
        if change := self.change():
            raise _changed(change)

    def change(self) -> str:
        """Return which parameter, dtype or shape is another one than when recording began; nothing where none is."""
        present = dict(named_parameters(self.model, remove_duplicate=False))
        for name, parameter in self.parameters.items():
            if present.get(name) is not parameter:
                return (
                    f'the model has another parameter "{name}" now than when recording began (loaded by assign=True?)'
                )
            was = self.specs[name]
            now = _spec(name, parameter, was.group, list(was.aliases))
            if now != was:
                one, other = (" ".join([str(s.shape), s.dtype, s.memory_format]).strip() for s in (was, now))
                return f'"{name}" was {one} when recording began, and is {other} now'
        return ""

    def versions(self) -> list[int]:
        """Return how often each parameter was changed in place."""
        return [parameter._version for parameter in self._trained]

    def written_since(self, versions: list[int]) -> bool:
        """Return whether parameters were changed in place. Raises AadslError where one requires no gradients now."""
        # One look at all parameters a step costs less than two.
        if [parameter._version if parameter.requires_grad else -1 for parameter in self._trained] == versions:
            return False
        for name, parameter in self.parameters.items():
            if not parameter.requires_grad:
                raise _changed(f'"{name}" was trained when recording began, and requires no gradients now')
        return True

    def groups_of(self, optimizer: Optimizer) -> range:
        """Return the numbers of an optimizer's parameter groups."""
        position = self.optimizers.index(optimizer)
        return range(*self.groups[position : position + 2])

    def groups_without(self, taken: Sequence[Optimizer]) -> Sequence[int]:
        """Return the numbers of the parameter groups of all other optimizers than these."""
        return [group for one in self.optimizers if one not in taken for group in self.groups_of(one)]

    def hyperparameters(self) -> Scalars:
        """Return the scalars of each parameter group; the same object as long as nothing changes."""
        return self._hyperparameters.present()

    def hyperparameters_of(self, optimizer: Optimizer, others: Scalars) -> Scalars:
        """Return the scalars of each parameter group: an optimizer's own are the present ones, those of ``others`` not.

        A schedule may have moved on between the steps of two optimizers.
        """
        present, own = self.hyperparameters(), self.groups_of(optimizer)
        if present is others:
            return others
        return [*others[: own.start], *present[own.start : own.stop], *others[own.stop :]]

    def modules_off_mode(self) -> str:
        """Return the names of the modules whose train/eval mode differs from the model's, separated by spaces."""
        mode = self.model.training
        return " ".join([name for name, module in self.modules.items() if module.training is not mode])


def _is_fresh(optimizer: Optimizer) -> bool:
    return not any(
        bool(torch.as_tensor(value).any())
        for slots in optimizer.state.values()
        for value in ([slots["step"]] if "step" in slots else slots.values())
        if isinstance(value, (Tensor, float, int))
    )


def _changed(what: str) -> AadslError:
    hint = "begin another recorder where that changes; open_trajectory([a, b]) joins the two runs"
    return AadslError(what, hint=hint)


def _spec(name: str, tensor: Tensor, group: int, aliases: list[str]) -> ParameterSpec:
    described = name, tuple(tensor.shape), dtype_name(tensor.dtype), group, tuple(aliases)
    return ParameterSpec(*described, format_of(tensor))
