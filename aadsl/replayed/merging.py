"""Low-rank adapters (LoRA) that a run trained, merged into the weights that the next run begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.trajectory import Merged, Trajectory

SLACK = 8  # roundings that an element may have besides those of its product


def merged_weight(one: Merged, values: Mapping[str, Tensor]) -> Tensor:
    """Return W' = W + s·BA, added up over adapters; those of convolutions are matrices over their channels."""
    weight = values[one.before]
    for a, b, scale, transposed in one.pairs:
        product = values[b].flatten(1) @ values[a].flatten(1)
        weight = weight + (product.T if transposed else product).reshape(weight.shape) * scale
    return weight


def rounding_of(trajectory: Trajectory, one: Merged, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Yield the name of a merged weight, and what the run rounded otherwise, where it did.

    Raises:
        AadslError: it is more than rounding explains: merging gives another weight than the run began with.
    """
    before, after = trajectory.chain.left(one.step).parameters, trajectory.state(one.step).parameters
    left = {name: before[name].to(device) for name in (one.before, *one.adapters)}
    off = after[one.name].to(device) - merged_weight(one, left)
    if not bool(off.any()):
        return
    added = replace(one, pairs=tuple((a, b, abs(scale), transposed) for a, b, scale, transposed in one.pairs))
    rank = max(len(left[a]) for a, *_ in one.pairs)
    bound = (rank + SLACK) * torch.finfo(off.dtype).eps * merged_weight(added, {n: v.abs() for n, v in left.items()})
    if not bool((off.abs() <= bound).all()):
        run = next(job for job in trajectory.jobs if job.start == one.step and job.stop > one.step)
        of_name = one.name.partition("@")[0]
        raise AadslError(
            f'joins: {run.name} did not begin with "{of_name}" as merging the adapters gives it: it is off by up to '
            f"{float(off.abs().max()):.2g}, of weights up to {float(after[one.name].abs().max()):.2g}",
            hint=_fitting(one, left, after[one.name].to(device)),
        )
    yield one.name, off


def _fitting(one: Merged, left: Mapping[str, Tensor], begun: Tensor) -> str:
    """Return which scale fits, in words, where one does."""
    (a, b, scale, transposed), *others = one.pairs
    added = merged_weight(replace(one, pairs=((a, b, 1.0, transposed),)), left) - left[one.before]
    wanted = begun - left[one.before]
    best = float((added * wanted).sum() / added.square().sum().clamp_min(torch.finfo(added.dtype).tiny))
    if not others and torch.allclose(best * added, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max())):
        return f"the scale was {scale:g}; {best:.6g} fits: aadsl.lora_merged(scale={best:.6g})"
    return "give each run the model that it had, and say which weights the adapters went into: lora_merged(weight=…)"
