"""What is recorded of a model and its optimizer: names, states, hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.core.models import require_shapes
from aadsl.trajectory.store.specs import ParameterSpec
from aadsl.trajectory.store.tensors import StateEntry, dtype_name

# How PyTorch computes a step, not what it computes. (Fused kernels, and of some optimizers those for many tensors at
# once, round otherwise, so a replay must know of them.)
_IMPLEMENTATION = {"capturable", "differentiable"}


def unwrapped_model(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers that rename its parameters (``torch.compile``, data parallel)."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def unwrapped_optimizer(optimizer: Any) -> Optimizer:
    """Return the torch optimizer inside a wrapper such as Accelerate's."""
    while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, Optimizer):
        raise AadslError(
            f"the optimizer is a {type(optimizer).__name__}, not a torch.optim.Optimizer",
            hint="pass the object whose step() the training loop calls",
        )
    return optimizer


class Subject:
    """A model and its optimizer.

    Attributes:
        parameters: what the optimizer trains by its name in the model: what PyTorch gives no gradient, it does not.
        specs, buffer_specs: their descriptions.
        idle: what the optimizer has, but does not train, by name.
    """

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self.model = unwrapped_model(model)
        require_shapes(self.model)
        self.optimizer = unwrapped_optimizer(optimizer)
        self.modules = dict(self.model.named_modules())
        names: dict[int, list[str]] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        self.parameters: dict[str, nn.Parameter] = {}
        self.specs: dict[str, ParameterSpec] = {}
        self.idle: dict[str, nn.Parameter] = {}
        for group, content in enumerate(self.optimizer.param_groups):
            for parameter in content["params"]:
                name, *aliases = names.get(id(parameter)) or self._refuse_stranger(parameter)
                if not parameter.requires_grad:
                    self.idle[name] = parameter
                    continue
                self.parameters[name] = parameter
                self.specs[name] = _spec(name, parameter, group, aliases)
        if not self.parameters:
            raise AadslError(
                "the model has no trainable parameters in this optimizer",
                hint="parameters need requires_grad=True and must be in the optimizer's groups",
            )
        self.buffer_specs = {name: _spec(name, buffer, -1, []) for name, buffer in self.model.named_buffers()}
        self.frozen = {
            name: parameter for name, parameter in self.model.named_parameters() if name not in self.parameters
        }
        self._group_count = len(self.optimizer.param_groups)
        self._trained = list(self.parameters.values())
        self._witness = self._trained[0]
        self._dtype = self._witness.dtype
        self._keys = _scalar_keys(self.optimizer)
        self._values: list[Any] | None = None
        self._scalars: list[dict[str, Any]] = []

    def _refuse_stranger(self, parameter: Tensor) -> list[str]:
        raise AadslError(
            f"the optimizer updates a tensor of shape {tuple(parameter.shape)} that is no parameter of the model",
            hint="put all modules the optimizer trains into one nn.Module and record that",
        )

    def entries(self) -> Iterator[StateEntry]:
        """Yield every tensor of the present state."""
        for name, parameter in self.parameters.items():
            yield StateEntry("parameters", "", name, parameter)
        for name, parameter in self.parameters.items():
            for slot, value in self.optimizer.state.get(parameter, {}).items():
                yield from _slot_entries(str(slot), name, value)
        for name, buffer in self.model.named_buffers():
            yield StateEntry("buffers", "", name, buffer)

    def optimizer_is_fresh(self) -> bool:
        """Return whether the optimizer took no step: it holds no state, or has counted none (as Adagrad at first).

        Where it counts no steps, it holds nothing but zeros.
        """
        return not any(
            bool(torch.as_tensor(value).any())
            for slots in self.optimizer.state.values()
            for value in ([slots["step"]] if "step" in slots else slots.values())
            if isinstance(value, (Tensor, float, int))
        )

    def require_unchanged(self) -> None:
        """Raise AadslError where the coming step trains something else than when recording began.

        This is what a look that costs nothing sees; :meth:`require_unchanged_tensors` sees more.
        """
        for name, parameter in self.idle.items():
            if parameter.grad is not None:
                raise _changed(f'"{name}" did not require gradients when recording began, and is trained now')
        if len(self.optimizer.param_groups) != self._group_count:
            raise _changed("the optimizer was given another parameter group after recording began")
        if self._witness.dtype is not self._dtype:
            self.require_unchanged_tensors()

    def require_unchanged_tensors(self) -> None:
        """Raise AadslError where a parameter has another dtype or shape than when recording began."""
        if change := self.change():
            raise _changed(change)

    def change(self) -> str:
        """Return which parameter has another dtype or shape than when recording began; nothing where none has."""
        for name, parameter in self.parameters.items():
            was = self.specs[name]
            now = _spec(name, parameter, was.group, list(was.aliases))
            if now != was:
                return f'"{name}" was {was.shape} {was.dtype} when recording began, and is {now.shape} {now.dtype} now'
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

    def hyperparameters(self) -> list[dict[str, Any]]:
        """Return the scalars of each parameter group, as torch names them; tuples are numbered (beta1, beta2).

        Returns the same object as long as nothing changes.
        """
        values = [group.get(key) for group in self.optimizer.param_groups for key in self._keys]
        if values != self._values:
            # A tensor may change in place, and is then still equal to itself.
            self._values = None if any(isinstance(value, Tensor) for value in values) else values
            scalars = [_scalars(group, self._keys) for group in self.optimizer.param_groups]
            if scalars != self._scalars:
                self._scalars = scalars
        return self._scalars

    def modules_off_mode(self) -> str:
        """Return the names of the modules whose train/eval mode differs from the model's, separated by spaces."""
        mode = self.model.training
        return " ".join([name for name, module in self.modules.items() if module.training is not mode])


def _changed(what: str) -> AadslError:
    hint = "begin another recorder where that changes; open_trajectory([a, b]) joins the two runs"
    return AadslError(what, hint=hint)


def _spec(name: str, tensor: Tensor, group: int, aliases: list[str]) -> ParameterSpec:
    return ParameterSpec(name, tuple(tensor.shape), dtype_name(tensor.dtype), group, tuple(aliases))


def _slot_entries(slot: str, name: str, value: Any) -> Iterator[StateEntry]:
    """Yield the tensors in a value of ``optimizer.state[parameter]``; the members of containers are numbered."""
    if isinstance(value, Tensor):
        yield StateEntry("optimizer", slot, name, value)
    elif isinstance(value, (bool, int, float)):
        yield StateEntry("optimizer", slot, name, torch.tensor(value, dtype=_PYTHON_DTYPES[type(value)]))
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from _slot_entries(f"{slot}.{position}", name, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _slot_entries(f"{slot}.{key}", name, item)


_PYTHON_DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64}


def _scalar_keys(optimizer: Optimizer) -> list[str]:
    """Return the hyperparameters, those of every group, which are numbers or tuples of numbers."""
    found: dict[str, None] = {}
    for group in optimizer.param_groups:
        for key, value in group.items():
            numbers = value if isinstance(value, tuple) else (value,)
            # Learning rate schedulers leave further keys of their own in the groups.
            known = key in optimizer.defaults and key not in _IMPLEMENTATION
            if known and all(isinstance(number, (bool, int, float, Tensor)) for number in numbers):
                found[key] = None
    return list(found)


def _scalars(group: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in keys:
        value = group.get(key)
        if type(value) is tuple:
            stem = key.removesuffix("s")
            values.update({f"{stem}{number}": item for number, item in enumerate(value, 1)})
        else:
            values[key] = value.item() if isinstance(value, Tensor) else value
    return values
