"""The model and the loss of each run of a chain; as a rule one of each for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from aadsl.core.errors import AadslError
from aadsl.core.formats import arranged
from aadsl.core.wrappers import named_parameters
from aadsl.propagation import Layout, LossFunction, Objective
from aadsl.replayed import fitting
from aadsl.replayed.by_run import of_each_run
from aadsl.trajectory import ParameterSpec, Trajectory
from aadsl.trajectory.read.breaks import renamed_buffers

GivenModel: TypeAlias = nn.Module | Mapping[Any, Any]
"""A model; or that of each run, or what makes it, by the name or path of the run."""
GivenLoss: TypeAlias = LossFunction | Mapping[Any, LossFunction]


@dataclass(frozen=True)
class Models:
    """What each run was trained with.

    Attributes:
        models: the model of each run; losses: its loss.
        names: for each run what its model calls each of the trajectory's parameters that it has.
        by_path: the paths of the runs, where each was given a model of its own.
    """

    models: tuple[nn.Module, ...]
    losses: tuple[LossFunction, ...]
    names: tuple[dict[str, str], ...]
    by_path: tuple[str, ...] | None = None

    @classmethod
    def of(cls, model: GivenModel, loss: GivenLoss, trajectory: Trajectory) -> Models:
        """Return what is given for each run.

        Raises:
            AadslError: one is missing, is none, or does not have what its run trained.
        """
        jobs = trajectory.jobs
        models = models_of(model, trajectory)
        if not isinstance(model, Mapping):
            _require_one_shape(trajectory)
        apart = isinstance(model, Mapping) or any(
            own != name for n in trajectory.chain.names for own, name in n.items()
        )
        losses = _of_each("loss", loss, trajectory) if isinstance(loss, Mapping) else [loss] * len(jobs)
        names = []
        for number, one in enumerate(models):
            called = {name: own for own, name in trajectory.chain.names[number].items()}
            if apart:
                shapes = {n: spec.shape for n, spec in trajectory.parameters.items()}
                frozen = trajectory.chain.frozen[number]
                own = {n: tuple(p.shape) for n, p in named_parameters(one) if n not in called.values()}
                others = {frozen.get(n, n): n for n in own if own[n] == shapes.get(frozen.get(n, n))}
                called = others | called
                fitting.require_parameters({own: trajectory.parameters[n] for n, own in called.items()}, one)
            else:
                called = {name: name for name in trajectory.parameters}
            names.append(called)
        if not apart:
            fitting.require_parameters(trajectory.parameters, models[-1])
        by_path = tuple(job.path for job in jobs) if isinstance(model, Mapping) else None
        _require_something_in_common(trajectory, names)
        _require_one_name(trajectory)
        return cls(tuple(models), tuple(losses), tuple(names), by_path)

    @property
    def given(self) -> GivenModel:
        """The model, or by path that of each run: what was made of what was given, once."""
        return self.last if self.by_path is None else dict(zip(self.by_path, self.models, strict=True))

    @property
    def last(self) -> nn.Module:
        """The model of the last run."""
        return self.models[-1]

    def ordered(self, trajectory: Trajectory) -> list[str]:
        """Return the names of all parameters in the order of each of their models, the later first where two differ."""
        order: list[str] = []
        each = {(id(one), *names): (one, names) for one, names in zip(self.models, self.names, strict=True)}
        for one, names in reversed(each.values()):
            called, known, last = {own: name for name, own in names.items()}, {*order}, ""
            after: dict[str, list[str]] = {}
            for name in (called[own] for own, _ in named_parameters(one) if own in called):
                if name in known:
                    last = name
                else:
                    after.setdefault(last, []).append(name)
            order = [*after.get("", ()), *(n for name in order for n in (name, *after.get(name, ())))]
        return [*order, *sorted(trajectory.parameters.keys() - {*order})]

    def like(self, name: str, spec: ParameterSpec, device: torch.device) -> Tensor:
        """Return zeros like a parameter of the latest model that has it.

        They lie in memory as it did, or else with the strides of the model's own: that decides the order of sums.
        """
        for one, names in zip(reversed(self.models), reversed(self.names), strict=True):
            if name in names:
                own = arranged(dict(named_parameters(one))[names[name]].detach(), spec.memory_format)
                return torch.zeros_like(own, dtype=getattr(torch, spec.dtype), device=device)
        raise AssertionError(name)

    def objective(
        self, parameters: Layout, buffers: Layout, integers: Sequence[str], like: Tensor, shared: Sequence[Any]
    ) -> Objective:
        """Return the loss of the last run as a function of flat states, which knows those of the others."""
        made: dict[Any, Objective] = {}
        found = []
        for one, loss, names in zip(self.models, self.losses, self.names, strict=True):
            key = id(one), tuple(names.items())
            if key not in made:
                made[key] = Objective(one, loss, parameters, buffers, integers, like, shared, names)
            known = made[key]
            found.append(known if known.loss is loss else known.with_loss(loss))
        last = found[-1]
        if any(one is not last for one in found):
            last.runs = found
        return last


def models_of(model: GivenModel, trajectory: Trajectory) -> list[nn.Module]:
    """Return the model of each run, made where what makes it was given."""
    if not isinstance(model, Mapping):
        return [model] * len(trajectory.jobs)
    return [_made(one) for one in _of_each("model", model, trajectory)]


def _of_each(what: str, given: Mapping[Any, Any], trajectory: Trajectory) -> list[Any]:
    found = of_each_run(what, given, trajectory.jobs)
    for one, job in zip(found, trajectory.jobs, strict=True):
        if one is None and job.start < job.stop:
            entries = ", ".join(f'"{other.name}": …' for other in trajectory.jobs)
            raise AadslError(f"{what}={{…}} names none for the run {job.name}", hint=f"{what}={{{entries}}}")
    known = [one for one in found if one is not None]
    return [known[-1] if one is None else one for one in found]


def _made(given: Any) -> nn.Module:
    made = given if isinstance(given, nn.Module) or not callable(given) else given()
    if not isinstance(made, nn.Module):
        raise AadslError(
            f"model={{…}} holds a {type(made).__name__}, no model",
            hint='give each run its model, or what makes it: model={"pretrain": make_small, "finetune": make_large}',
        )
    return made


def _require_something_in_common(trajectory: Trajectory, names: Sequence[Mapping[str, str]]) -> None:
    """Raise AadslError where a run's model, by its ``names``, has nothing of what the runs before it trained."""
    chain, before = trajectory.chain, set[str]()
    for number, (job, own) in enumerate(zip(trajectory.jobs, names, strict=True)):
        lost = bool(before) and job.start < job.stop and not before & own.keys()
        if lost and job.start not in {one.step for one in chain.merged} | {one.step for one in chain.resized}:
            raise AadslError(
                f"by their names, nothing that was trained before is in the model of {job.name}",
                hint="where adapters were merged, or weights have other names there, say so: "
                f'joins={{"{job.name}": aadsl.lora_merged()}}',
            )
        before |= {*chain.names[number].values()}


def _require_one_name(trajectory: Trajectory) -> None:
    """Raise AadslError where statistics that a run moved have another name in a later one: it has no adapters, say."""
    for name, other in renamed_buffers(trajectory.chain):
        raise AadslError(
            f'"{name}" moved in one run, and is "{other}" in a later one: buffers are followed by their names alone',
            hint="keep normalization in eval mode in the run with adapters, or ask about each of the runs alone",
        )


def _require_one_shape(trajectory: Trajectory) -> None:
    for number, names in enumerate(trajectory.chain.names):
        for own, name in names.items():
            one, other = (trajectory.parameters[n].shape for n in (name, own))
            if one != other:
                entries = ", ".join(f'"{job.name}": …' for job in trajectory.jobs)
                raise AadslError(
                    f'"{own}" has the shape {one} in {trajectory.jobs[number].path}, and {other} later, so one model '
                    "cannot be that of all runs",
                    hint=f"give each run its own: model={{{entries}}}",
                )
