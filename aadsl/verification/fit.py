"""Whether the model and the data are those of the run, as far as can be told without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from aadsl.core.wrappers import named_parameters
from aadsl.data.examples import Examples
from aadsl.replayed.training_data import TrainingData
from aadsl.trajectory import Job, Trajectory
from aadsl.trajectory.store.fingerprints import batch_digest, data_fingerprint, example_digest, tensor_digest
from aadsl.verification.report import Finding

# Where the order changed, this many examples are searched for the recorded ones.
SEARCHED = 20_000
# What data may have been when they are recorded: as NumPy and PyTorch make them.
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8)
MEMBERS = 3  # of an example; of more, too many combinations would have to be tried


def fitting(trajectory: Trajectory, models: Sequence[nn.Module], data: TrainingData) -> list[Finding]:
    """Return what models and data have in common with the run, or with each run of a chain, and what not."""
    found: list[Finding] = []
    for model in {id(one): one for one in models}.values():
        found += _precision(trajectory, model)
    for run, job, model, examples in _distinct(trajectory, models, data):
        found += [*_frozen(trajectory, job, model, run), *_data(job, examples, run)]
    if len(trajectory.jobs) > 1 and any(len(part) == len(trajectory.jobs) for part in data.distinct):
        entries = ", ".join(f'"{job.name}": …' for job in trajectory.jobs)
        found.append(Finding("note", f"data of its own are given to each run as a dict: data={{{entries}}}"))
    return found


def _distinct(
    trajectory: Trajectory, models: Sequence[nn.Module], data: TrainingData
) -> Iterator[tuple[str, Job, nn.Module, Examples | None]]:
    """Yield runs, what they are called, model and data; gaps of a reconstruction, which are alike, together."""
    alike: list[tuple[Job, nn.Module, Examples | None, int]] = []
    for job, model, examples in zip(trajectory.jobs, models, data.parts, strict=True):
        known = alike[-1] if alike and trajectory.gaps else None
        if known and known[0].fingerprints == job.fingerprints and known[2] is examples:
            alike[-1] = *known[:3], known[3] + 1
        else:
            alike.append((job, model, examples, 0))
    for job, model, examples, more in alike:
        path = f"{job.path} and {more} more" if more else job.path
        yield path if len(trajectory.jobs) > 1 else "the run", job, model, examples


def _precision(trajectory: Trajectory, model: nn.Module) -> Iterator[Finding]:
    for name, parameter in named_parameters(model):
        here = str(parameter.dtype).removeprefix("torch.")
        if name in trajectory.parameters and trajectory.parameters[name].dtype != here:
            recorded = trajectory.parameters[name].dtype
            text = f"the run computed in {recorded}, the model given computes in {here}"
            yield Finding("failed", text, "other dtype")
            return


def _frozen(trajectory: Trajectory, job: Job, model: nn.Module, run: str) -> Iterator[Finding]:
    own = dict(named_parameters(model))
    names = trajectory.chain.frozen[trajectory.jobs.index(job)]
    digests = job.fingerprints.get("frozen", {})
    # What another run of a chain trained is in its states.
    recorded = {name: digest for name, digest in digests.items() if names.get(name) not in trajectory.parameters}
    changed = [name for name, digest in recorded.items() if name not in own or tensor_digest(own[name]) != digest]
    if changed:
        yield Finding(
            "failed",
            f"the frozen weights are not those of {run}: {', '.join(changed[:3])}"
            f"{f' and {len(changed) - 3} more' if len(changed) > 3 else ''}"
            f"{' (adapters are merged into them: unmerge_adapter())' if _merged(model) else ''}",
            "changed weight",
        )


def _merged(model: nn.Module) -> bool:
    """Return whether adapters of PEFT are added to the weights below them now."""
    return any(getattr(module, "merged", False) is True for module in model.modules())


def _data(job: Job, examples: Examples | None, run: str) -> Iterator[Finding]:
    recorded = job.fingerprints.get("data", {})
    if examples is None or not recorded:
        return
    here = data_fingerprint(examples)
    if here.get("length") == recorded.get("length") and ("random" in here or "random" in recorded):
        yield Finding("note", "the data give other examples each time they are asked, so they cannot be compared")
        return
    if here.get("length") != recorded.get("length"):
        text = f"the data have {here.get('length', '?')} examples, those of {run} are {recorded.get('length', '?')}"
        yield Finding("failed", text, "other data")
        return
    sampled = here.keys() & recorded.keys() - {"length"}
    if not sampled:
        text = f"the data have as many examples as those of {run}; they are no tensors, so they are not compared"
        yield Finding("note", text)
        return
    # Recordings of before hold no digests of parts.
    differing = sorted((place for place in sampled if _whole(here[place]) != _whole(recorded[place])), key=int)
    if not differing:
        yield Finding("passed", f"the data are those of {run}: {len(sampled)} sampled examples agree")
        return
    if recast := _recast(examples, {place: _whole(recorded[place]) for place in sampled}):
        text = f"the data are the examples of {run} in another dtype: {recast}"
        yield Finding("failed", text, "data of another dtype")
        return
    places = ", ".join(differing[:3]) + (" …" if len(differing) > 3 else "")
    some = f"{len(differing)} of {len(sampled)} sampled examples ({places})"
    if parts := _same_inputs([(here[place], recorded[place]) for place in differing], examples):
        yield Finding(
            "failed", f"the {parts} of {some} are others than in {run}, the inputs are the same", "other labels"
        )
    elif len(differing) <= len(sampled) / 2:
        yield Finding("failed", f"{some} are others than in {run}, the rest is where it was", "other data")
    elif _found(examples, recorded) > len(sampled) / 2:
        yield Finding("failed", f"the data are in another order than in {run}: they were shuffled", "shuffled data")
    else:
        text = f"the data have as many examples as those of {run}, but other ones"
        yield Finding("failed", text, "other data")


def _whole(digest: str) -> str:
    return digest.partition(" ")[0]


def _same_inputs(pairs: list[tuple[str, str]], examples: Examples) -> str:
    """Return which parts of examples differ, by their names, where the first ones, the inputs, all agree."""
    parts = [(here.split(" ")[1:], recorded.split(" ")[1:]) for here, recorded in pairs]
    if not all(len(here) == len(recorded) > 1 and here[0] == recorded[0] for here, recorded in parts):
        return ""
    numbers = sorted({k for here, recorded in parts for k in range(len(here)) if here[k] != recorded[k]})
    example = examples.take([0])
    if isinstance(example, dict):
        return " and ".join(f'"{list(example)[number]}"' for number in numbers)
    return "labels" if len(parts[0][0]) == 2 else f"part {' and '.join(map(str, numbers))}"


def _found(examples: Examples, recorded: dict[str, str]) -> int:
    """Return how many of the recorded examples are somewhere among these."""
    wanted = {_whole(digest) for place, digest in recorded.items() if place != "length"}
    searched = range(min(len(examples), SEARCHED))
    return len(wanted & {_whole(example_digest(examples, position)) for position in searched})


def _recast(examples: Examples, recorded: Mapping[str, str]) -> str:
    """Return in which dtypes, other than they have, the examples are the recorded ones; "" where in none."""
    places = [place for place in recorded if place.isdigit() and int(place) < len(examples)]
    if not places:
        return ""
    parts, _ = tree_flatten(examples.take([int(places[0])]))
    if len(parts) > MEMBERS or not all(isinstance(part, Tensor) for part in parts):
        return ""
    for dtypes in product(DTYPES, repeat=len(parts)):
        if all(_digest_in(dtypes, examples, int(place)) == recorded[place] for place in places):
            changed = [(part.dtype, dtype) for part, dtype in zip(parts, dtypes, strict=True) if part.dtype != dtype]
            return ", ".join(f"{here} instead of {there}".replace("torch.", "") for here, there in changed)
    return ""


def _digest_in(dtypes: Sequence[torch.dtype], examples: Examples, position: int) -> str:
    parts, form = tree_flatten(examples.take([position]))
    return batch_digest(tree_unflatten([part.to(dtype) for part, dtype in zip(parts, dtypes, strict=True)], form))
