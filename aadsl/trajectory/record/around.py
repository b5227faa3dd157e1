"""What happens around a recorded run: other optimizers step, states are loaded, weights that are not trained change."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.dynamics import DERIVED, DYNAMICS, OF_MATRICES, in_words, kind_of, prospects
from aadsl.trajectory.record.group_scalars import scalar_keys
from aadsl.trajectory.record.subject import Subject
from aadsl.trajectory.store.fingerprints import tensor_digest


def warn_of_unknown(subject: Subject) -> None:
    """Say, before the training, what can be asked of it where steps of an optimizer have no derivative."""
    for kind, one in {kind_of(one): one for one in subject.optimizers}.items():
        known = [*DYNAMICS, *OF_MATRICES, *DERIVED]
        if kind not in known:
            warnings.warn(prospects(one, kind, dict.fromkeys(map(in_words, known))), stacklevel=5)


def skips(optimizer: Optimizer) -> bool:
    """Return whether fused kernels leave everything as it is, because a GradScaler found what is not finite."""
    found = getattr(optimizer, "found_inf", None)  # it has it only meanwhile
    return found is not None and bool(found)


class Surroundings:
    """Sees what else than the recorded steps changes the model of ``subject``, or its optimizers.

    Args:
        subject: model and optimizers.
        digests: of the weights that are not trained, when recording began.
    """

    def __init__(self, subject: Subject, digests: Mapping[str, str]) -> None:
        self._subject, self._digests = subject, digests
        self._versions = {name: parameter._version for name, parameter in subject.frozen.items()}
        self._states: list[dict[Any, Any]] = [one.state for one in subject.optimizers]
        self._held = [bool(state) for state in self._states]
        self._strangers: WeakSet[Optimizer] = WeakSet()  # they step as often, and are not looked through each time

    def state_was_replaced(self) -> bool:
        """Return whether the state of an optimizer was emptied, or loaded, since this was last asked."""
        replaced = False
        for number, one in enumerate(self._subject.optimizers):  # at every step, so that no list is made
            state = one.state
            if state is not self._states[number] or (self._held[number] and not state):
                self._states[number], replaced = state, True
            self._held[number] = bool(state)
        return replaced

    def trained_by(self, other: Optimizer) -> str:
        """Return the first parameter of the model, by name, that another optimizer has; "" where it has none."""
        if other in self._strangers:
            return ""
        own = {id(p): name for name, p in (self._subject.frozen | self._subject.parameters).items()}
        theirs = (parameter for group in other.param_groups for parameter in group["params"])
        name = next((own[id(parameter)] for parameter in theirs if id(parameter) in own), "")
        if not name:
            self._strangers.add(other)
        return name

    def follow(self, other: Optimizer) -> bool:
        """Go on with another optimizer in the place of one of its kind that trains the same, if there is one."""
        for one in self._subject.optimizers:
            if type(one) is type(other) and _trained(one) == _trained(other) and scalar_keys(one) == scalar_keys(other):
                self._subject.replace(one, other)
                self.state_was_replaced()  # it is known now that it was
                return True
        return False

    def require_frozen(self) -> None:
        """Raise AadslError where a weight that no recorded optimizer trains is not what it was when recording began."""
        for name, parameter in self._subject.frozen.items():
            if parameter._version != self._versions[name]:
                if tensor_digest(parameter) != self._digests.get(name):
                    raise AadslError(
                        f'"{name}" is not trained by the optimizer that is recorded, and was changed since',
                        hint="record all optimizers of a model together, load weights before the recorder is made, and "
                        "keep what follows the model, as a teacher does, outside of it",
                    )
                self._versions[name] = parameter._version


def _trained(optimizer: Optimizer) -> list[list[int]]:
    return [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]
