"""What has been named in a study: stages and behaviors, alone and in families."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Self, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from aadsl.behaviors import BEHAVIORS, Custom, Metric, reads_labels
from aadsl.core.arguments import checked
from aadsl.core.attached import attached
from aadsl.core.errors import AadslError, Problem, unknown_name
from aadsl.core.families import composed, define, named
from aadsl.core.members import member_of
from aadsl.core.scalars import member_name
from aadsl.data.examples import Examples
from aadsl.estimators import Behavior
from aadsl.propagation import MetricFunction
from aadsl.study.selection import step_mask, those_of

T = TypeVar("T")
Select = Callable[["Names", str], NDArray[np.bool_]]
"""Returns which steps of a run a text of the language selects, (T,) true there."""
TEXT: Select = attached("Names.select")


@checked
class Names:
    """Stages and behaviors of one run, by name.

    A name that is defined anew means the new alone: nothing of an old family is left. A definition that is refused
    changes nothing.

    Args:
        steps: what was recorded of every step, over the dimension ``step``.
        select: reads a set of steps from the language's text; the language stands above studies.

    Attributes:
        stages: name → boolean DataArray over ``step``; members of a family are called ``family[member]``.
        families: name → names of its stages.
        behaviors: name → :class:`aadsl.estimators.Behavior`.
        behavior_families: name → names of its behaviors.
    """

    def __init__(self, steps: xr.Dataset, select: Select = TEXT) -> None:
        self.steps = steps
        self._select = select
        self.stages: dict[str, xr.DataArray] = {}
        self.families: dict[str, tuple[str, ...]] = {}
        self.behaviors: dict[str, Behavior] = {}
        self.behavior_families: dict[str, tuple[str, ...]] = {}

    def branch(self) -> Self:
        """Return the same run with the names so far; what is named in one from now on is not named in the other."""
        branch = copy(self)
        for names in ("stages", "families", "behaviors", "behavior_families"):
            setattr(branch, names, dict(getattr(self, names)))
        return branch

    def stage(self, name: str, selection: Any) -> xr.DataArray:
        """Name a set of steps.

        Args:
            name: how to call it.
            selection: a mask over the steps, true or false (or 1 or 0) for each, step numbers, either as a list, array,
                tensor or DataArray; a slice of steps; or the language's text: ``"steps[-200:] where lr < 1e-3"``.

        Returns:
            The boolean mask over ``step``.

        Raises:
            AadslError: the selection is empty or does not fit the run.
        """
        mask = self._mask(name, selection)
        define(self.stages, self.families, name, {name: mask})
        return mask

    def family(self, name: str, members: Mapping[Any, Any]) -> tuple[str, ...]:
        """Name several stages at once: each becomes the stage ``name[member]``, a number written as in the language.

        Raises:
            AadslError: there is no member, or one is empty or does not fit the run.
        """
        if not members:
            raise AadslError(f'the family "{name}" has no member', hint="give {member: steps, …}")
        masks = {full: self._mask(full, steps) for full, steps in _full_names(name, members).items()}
        define(self.stages, self.families, name, masks)
        return tuple(masks)

    def _mask(self, name: str, selection: Any) -> xr.DataArray:
        if isinstance(selection, str):
            selection = self._select(self, selection)
        chosen = step_mask(name, selection, self.steps)
        return xr.DataArray(chosen, {"step": self.steps.step}, ("step",), name=name)

    def behavior(
        self,
        name: str,
        metric: str | Metric | MetricFunction,
        on: Any,
        *,
        where: Any = None,
        by: str | None = None,
        per_example: bool = False,
        **options: Any,
    ) -> Behavior | tuple[Behavior, ...]:
        """Name a performance function on given examples.

        Args:
            name: how to call it.
            metric: the name of a behavior (``"log_likelihood"``), with its ``options``; or a callable
                ``fn(model, examples)`` that returns one number an example.
            on: examples: a tuple of tensors, a map-style dataset or an xarray Dataset.
            where: a mask over the examples, true or false (or 1 or 0) for each, or their positions; as a list, array,
                tensor or DataArray.
            by: a coordinate of the examples: one behavior ``name[value]`` for each of its values, named as the language
                names them; an example without a value belongs to none.
            per_example: whether effects are wanted for every example.
            options: parameters of a named metric (``target=7``).

        Raises:
            AadslError: an unknown metric, option or coordinate, a ``where`` that does not fit, or no example left.
        """
        name = composed(name)
        examples = Examples.of(on)
        if where is not None:
            examples = those_of(name, examples, where)
        function = _metric(metric, options)
        if reads_labels(function) and not (labelled := examples.labelled()).all():
            examples = examples.select(labelled)
        if not len(examples):
            raise AadslError(f'behavior "{name}" has no example', hint="the condition leaves none of them, or no label")
        if by is None:
            alone = Behavior(name, function, examples, per_example)
            define(self.behaviors, self.behavior_families, name, {name: alone})
            return alone
        if by not in examples.coordinates.variables:
            raise AadslError(unknown_name("coordinate", by, map(str, examples.coordinates.data_vars)))
        masks = _full_names(name, _members(name, examples.coordinates[by]))
        family = {full: Behavior(full, function, examples.select(mask), per_example) for full, mask in masks.items()}
        define(self.behaviors, self.behavior_families, name, family)
        return tuple(family.values())

    def stage_names(self, stages: str | Iterable[str]) -> list[str]:
        """Return the stages that these names mean, families taken apart.

        Raises:
            AadslError: a name is unknown, or there is none.
        """
        names = [member for name in named(stages) for member in self.families.get(name, (name,))]
        unknown = [unknown_name("stage", n, [*self.stages, *self.families]) for n in names if n not in self.stages]
        if unknown or not names:
            raise AadslError(*unknown or [Problem("no stage is asked about", "name at least one stage")])
        return names

    def members(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return (S, T) true where a step belongs to a stage; ``names`` are those that :meth:`stage_names` gives."""
        return np.stack([self.stages[name].to_numpy() for name in self.stage_names(names)])

    def behaviors_of(self, names: str | Iterable[str]) -> list[Behavior]:
        """Return the behaviors that these names mean, families taken apart.

        Raises:
            AadslError: a name is unknown, or there is none.
        """
        flat = [member for name in named(names) for member in self.behavior_families.get(name, (name,))]
        known = [*self.behaviors, *self.behavior_families]
        unknown = [unknown_name("behavior", name, known) for name in flat if name not in self.behaviors]
        if unknown or not flat:
            raise AadslError(*unknown or [Problem("no behavior is asked about", "name at least one behavior")])
        return [self.behaviors[name] for name in flat]


def _full_names(name: str, members: Mapping[Any, T]) -> dict[str, T]:
    """Return the members of a family under their full names, ``name[member]``."""
    return {f"{name}[{member_name(member)}]": meaning for member, meaning in members.items()}


def _members(name: str, values: xr.DataArray) -> dict[str, NDArray[np.bool_]]:
    """Return where each value is found, by the member of the family that it makes."""
    from aadsl.language.columns import Column
    from aadsl.language.grouping import LIMIT, grouped  # late: a training loop that only records waits for no parser

    members = grouped(Column.of(values.to_numpy()), np.ones(values.sizes["example"], dtype=bool))
    if not 0 < len(members) <= LIMIT:
        problem = f"have more than {LIMIT} members" if members else "be empty"
        raise AadslError(f'the family "{name}" by "{values.name}" would {problem}', hint="take another coordinate")
    return members


def _metric(metric: str | Metric | MetricFunction, options: dict[str, Any]) -> Metric:
    if isinstance(metric, str):
        found: Metric = member_of("behavior", BEHAVIORS, metric, options)
        return found
    if options:
        raise AadslError(f"options {', '.join(options)} are for named behaviors; bind them in the callable")
    return metric if isinstance(metric, Metric) else Custom(metric)
