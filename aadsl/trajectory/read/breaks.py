"""Whether runs that are said to follow on each other do."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aadsl.core.state import State
from aadsl.trajectory.read.chain import Chain, meets, tensors_in
from aadsl.trajectory.read.naming import without_peft
from aadsl.trajectory.read.run import RecordedRun
from aadsl.trajectory.store.fingerprints import tensor_digest


def breaks(chain: Chain) -> list[str]:
    """Return where a run did not begin with what the runs before it ended with, or had other weights frozen."""
    if len(chain.runs) == 1:
        return []
    found = []
    left: dict[str, Tensor | str] = {}
    before: RecordedRun | None = None
    for number, run in enumerate(chain.runs):
        begin, end = (chain.stored(number, step) for step in (0, run.length))
        digests = run.header.fingerprints.get("frozen", {})
        frozen = {name: digests[own] for own, name in chain.frozen[number].items() if own in digests}
        had: dict[str, Tensor | str] = {**frozen, **(tensors_in(begin) if begin else {})}
        differing = [name for name, value in left.items() if name in had and not _same(value, had[name])]
        if before and differing and not meets(before, run):
            found.append(
                f"{run.source.path} did not begin where {before.source.path} ended: {', '.join(differing[:3])}"
                f"{f' and {len(differing) - 3} more' if len(differing) > 3 else ''} differ{_if_merged(before)}"
            )
        # Where an end was not stored, it is not known how the run left what it trained.
        left = {**frozen, **{name: value for name, value in left.items() if name not in chain.tensors_of(number)}}
        left |= end.parameters | moved_buffers(begin, end) if end else {}
        before = run
    return found


def _if_merged(run: RecordedRun) -> str:
    """Return what to do where a run's adapters went into the weights of the next; "" where it trained none."""
    adapters = any("lora" in name.lower() for name in run.header.parameters)
    return ' (were adapters merged into them? Study(…, joins={"run": aadsl.lora_merged()}))' if adapters else ""


def _same(one: Tensor | str, other: Tensor | str) -> bool:
    """Return whether two values are equal, of which either may be a digest."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    one, other = (part if isinstance(part, str) else tensor_digest(part) for part in (one, other))
    return one == other


def renamed_buffers(chain: Chain) -> Iterator[tuple[str, str]]:
    """Yield the buffers that a run moved and a later run calls otherwise, its model having no adapters, or having some.

    Each by both names.
    """
    if not any(without_peft(name) in chain.buffers.keys() - {name} for name in chain.buffers):
        return
    for number, run in enumerate(chain.runs):
        own = run.header.buffers
        later = {without_peft(name): name for one in chain.runs[number + 1 :] for name in one.header.buffers}
        twice = {name: later[bare] for name in own if later.get(bare := without_peft(name), name) not in own}
        end = chain.stored(number, run.length) if twice else None
        if end is not None:
            moved = moved_buffers(chain.stored(number, 0), end)
            yield from ((name, other) for name, other in twice.items() if name in moved)


def moved_buffers(begin: State | None, end: State) -> dict[str, Tensor]:
    """Return the buffers that a run moved; others (masks, tables of positions) are made anew by each job."""
    if begin is None:
        return {}
    return {n: b for n, b in end.buffers.items() if n in begin.buffers and not torch.equal(b, begin.buffers[n])}
