"""Optimizers that have no step function here: a copy of the user's own takes the steps, exactly but underived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.dynamics.base import Hyper, Slots
from aadsl.dynamics.derived import DERIVED
from aadsl.dynamics.kinds import in_words
from aadsl.dynamics.own_making import GroupOptions, Make, maker, put_scalars, require_no_closure, revived, unmade
from aadsl.dynamics.own_modes import has_modes
from aadsl.dynamics.own_state import StateVectors, leaves_of

OWN_SCALAR = "scalar of the group: "
"""Begins the names of slots that are scalars of a parameter group; after the last step none was recorded."""


class Given(NamedTuple):
    """What a step of one parameter group reads: tensors by name, None for a gradient that there is not."""

    parameters: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor | None]
    slots: Slots
    hyper: Hyper


class OwnOptimizer:
    """A copy of the optimizer of a run.

    Args:
        kind: the name under which its class was recorded.
        groups: the parameters of each of its groups by name, in its order: tensors like them, of any values.
        options: of each group.
        given: what makes it, or classes by the name under which they were recorded; else the name is looked up.

    Raises:
        AadslError: it cannot be made here, or needs to call the loss itself.
    """

    def __init__(
        self,
        kind: str,
        groups: Sequence[Mapping[str, Tensor]],
        options: Sequence[GroupOptions],
        given: Make | Mapping[str, type[Optimizer]] | None = None,
    ) -> None:
        self.kind = kind
        self._parameters = [{name: nn.Parameter(like.clone()) for name, like in own.items()} for own in groups]
        make = given if callable(given) else maker(kind, options, given or {})
        lists = [list(own.values()) for own in self._parameters]
        try:
            self.optimizer = make(lists[0] if len(lists) == 1 else [{"params": own} for own in lists])
        except Exception as error:  # whatever a user's own code raises
            raise unmade(kind, f"it cannot be made: {type(error).__name__}: {error}") from error
        self._require_fit(lists)
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update({name: revived(value, group.get(name)) for name, value in own.items()})
        if self.has_modes:
            self.optimizer.train()  # type: ignore[attr-defined]
        device, scalars = lists[0][0].device, [_besides_parameters(group) for group in self.optimizer.param_groups]
        begun, tried = self._states(), self._tried()
        # Scalars that its own steps change (a count, a distance) go on from what they are, not from what was recorded.
        self._moving = [
            {name: value for name, value in own.items() if isinstance(value, (int, float)) and group[name] != value}
            for group, own in zip(self.optimizer.param_groups, scalars, strict=True)
        ]
        for group, own in zip(self.optimizer.param_groups, scalars, strict=True):
            group.update(own)
        self.vectors = [StateVectors(in_words(kind), states) for states in tried]
        self._begun = [
            vectors.packed({name: leaves_of(state) for name, state in states.items()}, device)
            for vectors, states in zip(self.vectors, begun, strict=True)
        ]

    @property
    def has_derivative(self) -> bool:
        """Whether there is a formula of its steps."""
        return self.kind in DERIVED

    @property
    def has_modes(self) -> bool:
        """Whether it evaluates other weights than it trains."""
        return has_modes(self.optimizer)

    def initial(self, number: int) -> Slots:
        """Return the slots of a group before the first step."""
        return self._begun[number] | self.moving(number, {})

    def moving(self, number: int, scalars: Mapping[str, Any]) -> Slots:
        """Return those of the ``scalars`` of a group that its own steps change as slots; else as they begin."""
        device = next(iter(self._parameters[number].values())).device
        values = {name: scalars.get(name, value) for name, value in self._moving[number].items()}
        return {f"{OWN_SCALAR}{n}": torch.tensor([v], dtype=torch.float64, device=device) for n, v in values.items()}

    def step(self, given: Mapping[int, Given]) -> dict[int, tuple[Tensor, Slots]]:
        """Take one step of the groups that are given and return (θ', s') of each, θ' a vector in the order given."""
        self._put(given)
        self.optimizer.step()
        states = self._states()
        after = {}
        for number, own in given.items():
            vector = self._vector(number, own)
            found = {name: leaves_of(state) for name, state in states[number].items()}
            moving = self.moving(number, self.optimizer.param_groups[number])
            after[number] = vector, self.vectors[number].packed(found, vector.device) | moving
        return after

    def differentiable(self, given: Mapping[int, Given]) -> dict[int, tuple[Tensor, Slots]]:
        """Return what :meth:`step` does, to rounding, as a differentiable function of all tensors that are given.

        Raises:
            AadslError: there is no formula of its steps.
        """
        formula = DERIVED.get(self.kind)
        if formula is None:
            raise without_derivative(in_words(self.kind))
        after = {}
        for number, own in given.items():
            put_scalars(self.optimizer.param_groups[number], own.hyper)
            group, known = self.optimizer.param_groups[number], self.vectors[number].kept(own.slots)
            moved, found = {}, {}
            for name, parameter in own.parameters.items():
                gradient = own.gradients[name]
                if gradient is None:
                    moved[name] = parameter
                else:
                    moved[name], found[name] = formula(parameter, gradient, known[name], group)
            vector = torch.cat([value.reshape(-1) for value in moved.values()])
            after[number] = vector, self.vectors[number].joined(found, own.slots)
        return after

    def evaluated(self, given: Mapping[int, Given]) -> dict[int, Tensor]:
        """Return the weights that are evaluated in the place of those of the groups that are given, as vectors."""
        self._put(given)
        self.optimizer.eval()  # type: ignore[attr-defined]
        vectors = {number: self._vector(number, own) for number, own in given.items()}
        self.optimizer.train()  # type: ignore[attr-defined]
        return vectors

    def _put(self, given: Mapping[int, Given]) -> None:
        """Give the optimizer what a step reads; groups that are not given have no gradient."""
        self.optimizer.state.clear()
        for number, parameters in enumerate(self._parameters):
            own = given.get(number)
            for name, parameter in parameters.items():
                gradient = own.gradients[name] if own else None
                parameter.grad = None if gradient is None else torch.empty_like(parameter).copy_(gradient)
            if own is None:
                continue
            for name, value in own.parameters.items():
                parameters[name].data.copy_(value)
            for name, state in self.vectors[number].unpacked(own.slots).items():
                self.optimizer.state[parameters[name]] = state
            moved = {n: type(v)(own.slots[f"{OWN_SCALAR}{n}"].item()) for n, v in self._moving[number].items()}
            put_scalars(self.optimizer.param_groups[number], own.hyper | moved)

    def _vector(self, number: int, given: Given) -> Tensor:
        return torch.cat([self._parameters[number][name].detach().reshape(-1) for name in given.parameters])

    def _states(self) -> list[dict[str, Mapping[Any, Any]]]:
        """Return what is kept of the parameters of each group by name."""
        state = self.optimizer.state
        return [{name: state[p] for name, p in own.items() if p in state} for own in self._parameters]

    def _tried(self) -> list[dict[str, Mapping[Any, Any]]]:
        """Return what is kept of the parameters after two steps, which are taken for that.

        Raises:
            AadslError: it takes none by itself.
        """
        with torch.random.fork_rng(devices=[]):
            try:
                for _ in range(2):
                    for own in self._parameters:
                        for parameter in own.values():
                            parameter.grad = torch.full_like(parameter, 1e-3)
                    self.optimizer.step()
            except Exception as error:  # whatever a user's own code raises
                raise unmade(self.kind, f"it takes no step by itself: {type(error).__name__}: {error}") from error
        return deepcopy(self._states())

    def _require_fit(self, lists: list[list[nn.Parameter]]) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise AadslError(f"optimizer= made a {type(self.optimizer).__name__}, not a torch.optim.Optimizer")
        require_no_closure(type(self.optimizer))
        if in_words(self.kind) != type(self.optimizer).__name__:
            raise AadslError(
                f"optimizer= made a {type(self.optimizer).__name__}, and the run was trained with {self.kind}",
                hint="let it return the optimizer that trained",
            )
        made = [[id(p) for p in group["params"]] for group in self.optimizer.param_groups]
        if made != [[id(p) for p in own] for own in lists]:
            raise AadslError(
                f"optimizer= made a {in_words(self.kind)} with other parameters than it was given",
                hint="hand the parameters on as they come: optimizer=lambda params: "
                f"{in_words(self.kind)}(params, lr=…)",
            )


@dataclass(frozen=True, eq=False)
class OwnGroup:
    """A parameter group of an optimizer that takes its steps itself: number ``number`` of ``owner``."""

    owner: OwnOptimizer
    number: int

    def initial(self, parameter: Tensor, hyper: Hyper) -> Slots:
        """Return the slots before the first step."""
        return self.owner.initial(self.number)

    def restore(self, recorded: Slots, initial: Slots) -> Slots:
        """Return ``initial``: what was recorded comes in shapes of its own."""
        return initial

    def recorded_slots(
        self, slots: Mapping[str, Mapping[str, Tensor]], names: Sequence[str], hyper: Hyper, device: torch.device
    ) -> Slots:
        """Return the slots that were recorded of the parameters ``names``, by path and by name, and as scalars."""
        found = {name: {path: own[name] for path, own in slots.items() if name in own} for name in names}
        return self.owner.vectors[self.number].packed(found, device) | self.owner.moving(self.number, hyper)

    def step(self, parameter: Tensor, slots: Slots, gradient: Tensor, hyper: Hyper) -> NoReturn:
        """Refuse: the owner takes the steps of all of its groups at once, and they have no derivative."""
        raise without_derivative(in_words(self.owner.kind))

    def linear(self, hyper: Hyper) -> bool:
        """Return False: nothing is known of it."""
        return False


def _besides_parameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def without_derivative(names: str) -> AadslError:
    """Return what is said where an estimate is asked of a run of such optimizers."""
    return AadslError(
        f"the run was trained with {names}, whose steps can be repeated but not differentiated, so effects cannot be "
        "estimated",
        hint="ask for exact answers of stages: using retraining()",
    )
