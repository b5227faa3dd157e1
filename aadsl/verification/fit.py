"""Whether the model and the data are those of the run, as far as can be told without training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from aadsl.examples import Examples
from aadsl.trajectory import Trajectory
from aadsl.trajectory.fingerprints import data_fingerprint, example_digest, tensor_digest
from aadsl.verification.report import Finding

# Where the order changed, this many examples are searched for the recorded ones.
SEARCHED = 20_000


def fitting(trajectory: Trajectory, model: nn.Module, data: Any) -> list[Finding]:
    """Return what model and data have in common with the run, and what not."""
    return [*_model(trajectory, model), *_data(trajectory, data)]


def _model(trajectory: Trajectory, model: nn.Module) -> Iterator[Finding]:
    own = {name: parameter for name, parameter in model.named_parameters() if name in trajectory.parameters}
    for name, parameter in own.items():
        recorded, here = trajectory.parameters[name].dtype, str(parameter.dtype).removeprefix("torch.")
        if recorded != here:
            yield Finding(
                "failed", f"the run computed in {recorded}, the model given computes in {here}", "other dtype"
            )
            break
    # What another run of a chain trained is in its states.
    digests = trajectory.fingerprints.get("frozen", {})
    recorded_frozen = {name: digest for name, digest in digests.items() if name not in trajectory.parameters}
    frozen = {name: parameter for name, parameter in model.named_parameters() if name in recorded_frozen}
    changed = [name for name, digest in recorded_frozen.items() if name not in frozen]
    changed += [name for name, parameter in frozen.items() if tensor_digest(parameter) != recorded_frozen[name]]
    if changed:
        yield Finding(
            "failed",
            f"the frozen weights are not those of the run: {', '.join(changed[:3])}"
            f"{f' and {len(changed) - 3} more' if len(changed) > 3 else ''}",
            "changed weight",
        )


def _data(trajectory: Trajectory, data: Any) -> Iterator[Finding]:
    recorded = trajectory.fingerprints.get("data", {})
    if data is None or not recorded:
        return
    here = data_fingerprint(data)
    if here == recorded and len(here) == 1:
        yield Finding("note", "the data have the run's length; their examples are no tensors, so they are not compared")
        return
    if here == recorded:
        yield Finding("passed", f"the data are those of the run: {len(here) - 1} sampled examples agree")
        return
    if here.get("length") != recorded.get("length"):
        text = f"the data have {here.get('length', '?')} examples, the run's had {recorded.get('length', '?')}"
        yield Finding("failed", text, "other data")
        return
    if "random" in here or "random" in recorded:
        yield Finding("note", "the data give other examples each time they are asked, so they cannot be compared")
        return
    wanted = {digest for place, digest in recorded.items() if place != "length"}
    examples = Examples.of(data)
    searched = range(min(len(examples), SEARCHED))
    found = wanted & {example_digest(examples, position) for position in searched}
    if len(found) > len(wanted) / 2:
        yield Finding("failed", "the data are in another order than in the run: they were shuffled", "shuffled data")
    else:
        yield Finding("failed", "the data have the run's length, but the examples are other ones", "other data")
