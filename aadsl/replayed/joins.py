"""How a run is said to begin, where names and shapes do not tell: ``Study(…, joins={"finetune": …})``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from aadsl.core.arguments import checked, shown
from aadsl.core.errors import AadslError
from aadsl.core.wrappers import named_parameters
from aadsl.replayed.by_run import of_each_run
from aadsl.replayed.history import History
from aadsl.replayed.low_rank import Adapted, LoraMerged
from aadsl.replayed.models import GivenModel, models_of
from aadsl.trajectory import Beginning, Fresh, Job, Trajectory
from aadsl.trajectory.store.fingerprints import tensor_digest

NOTHING = "so that no effect of what the runs before made of it goes on in it"


@checked
def lora_merged(
    *, a: str = "", b: str = "", weight: str = "", into: str = "", scale: float | None = None
) -> LoraMerged:
    """Say that a run began with low-rank adapters merged which the run before it trained: W' = W + s·BA.

    ``Study(…, model={"adapt": with_adapters, "finetune": plain}, joins={"finetune": aadsl.lora_merged()})``: pairs of
    parameters are recognized by ``lora_A`` and ``lora_B`` in their names, as PEFT and most others call them; the weight
    is what has their product's shape in the layer that holds them; s is the layer's ``scaling``. What the run begins
    with is compared with that. It may train the weights themselves, or other adapters beside them.

    Args:
        a, b: the names of A (r, in) and B (out, r) in their layer, where they are others: ``a="down", b="up"``.
        weight: the name of W (out, in) there, ``"base.weight"``.
        into: its name in the same layer of the model of the run, ``"weight"``.
        scale: s.
    """
    if bool(a) != bool(b):
        raise AadslError("lora_merged: a= and b= are names of two factors", hint='such as a="down", b="up"')
    return LoraMerged(a, b, weight, into, scale)


def joined(trajectory: Trajectory, joins: Mapping[Any, Any] | None, model: GivenModel) -> tuple[Trajectory, GivenModel]:
    """Return a trajectory whose runs begin as ``joins`` says, and its model, or its models by path.

    Raises:
        AadslError: a key names no run, a value says nothing of how one begins, or there is nothing to merge.
    """
    if not joins:
        return trajectory, model
    for run, given in joins.items():
        if not all(isinstance(one, Fresh | LoraMerged) for one in _listed(given)):
            hint = f'such as joins={{{run!r}: aadsl.fresh("head.*")}}, or aadsl.lora_merged()'
            raise AadslError(f"joins={{{run!r}: …}} is {shown(given)}, which says not how a run begins", hint=hint)
    models, found = models_of(model, trajectory), of_each_run("joins", joins, trajectory.jobs)
    beginnings = [_beginning(trajectory, models, number, _listed(given)) for number, given in enumerate(found)]
    made = dict(zip((job.path for job in trajectory.jobs), models, strict=True))
    return Trajectory(trajectory.chain.runs, beginnings), made if isinstance(model, Mapping) else model


def notes_on_runs(history: History) -> list[str]:
    """Return what is to be said of parameters of which nothing goes on: others took their place, or nothing did."""
    chain, found = history.trajectory.chain, dict[str, list[str]]()
    for step, name in chain.fresh:
        found.setdefault(f"begun anew at step {step}", []).append(f'"{name}"')
    carried = {*chain.followed.values(), *(name for one in chain.merged for name in one.adapters)}
    for number, (job, own) in enumerate(zip(history.trajectory.jobs[1:], history.models.names[1:], strict=True)):
        lost = [f'"{name}"' for name in chain.names[number].values() if name not in carried | own.keys()]
        if lost:
            found[f"not in the model of {job.name}"] = lost
    return [f"{', '.join(all_of)}: {what}, {NOTHING}" for what, all_of in found.items()]


def _listed(given: Any) -> Sequence[Any]:
    return () if given is None else given if isinstance(given, list | tuple) else [given]


def _beginning(trajectory: Trajectory, models: Sequence[nn.Module], number: int, said: Sequence[Any]) -> Beginning:
    """Return how a run begins of which that is ``said``."""
    anew = tuple(pattern for one in said if isinstance(one, Fresh) for pattern in one.patterns)
    wanted = [one for one in said if isinstance(one, LoraMerged)]
    if not wanted:
        return Beginning(anew)
    before, run = trajectory.jobs[number - 1], trajectory.jobs[number]
    if not number:
        raise AadslError(f"joins: {run.name} is the first run: there is none before it whose adapters were merged")
    adapted = Adapted(before.name, models[number - 1], trajectory.chain.names[number - 1])
    merges = tuple(merge for one in wanted for merge in adapted.merges(one, models[number], run.name))
    if rest := adapted.rest(merges):
        raise AadslError(
            f'joins: "{rest[0]}", which {before.name} trained, is no low-rank factor that is merged as W + s·BA',
            hint="magnitudes (DoRA) and biases of adapters are not known; factors of other names are told: a=…, b=…",
        )
    chain, into = trajectory.chain, [merge.into for merge in merges if merge.into not in trajectory.chain.names[number]]
    trained = {name for names in chain.names[:number] for name in names.values()}
    own = chain.names[number - 1] | chain.frozen[number - 1]
    resting = [merge.weight for merge in merges if own.get(merge.weight) not in trained]
    left, begun = _values(models[number - 1], before, resting), _values(models[number], run, into)
    return Beginning(anew, merges, left, begun)


def _values(model: nn.Module, job: Job, names: Iterable[str]) -> dict[str, Tensor]:
    """Return weights that a run did not train. Raises AadslError where the model given for it has others."""
    own, digests = dict(named_parameters(model)), job.fingerprints.get("frozen", {})
    for name in names:
        if tensor_digest(own[name]) != digests.get(name):
            raise AadslError(
                f'joins: the model given for {job.name} has another "{name}" than the run had, which did not train it',
                hint="give each run its own model, with the weights that it had: that of the run which begins with "
                "merged adapters after merging them, that of the other before",
            )
    return {name: own[name].detach().clone() for name in names}
