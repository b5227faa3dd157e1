"""What the replay of some stretches says of a run."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

import torch

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress
from aadsl.replayed.history import History
from aadsl.trajectory import Trajectory
from aadsl.verification.causes import explain
from aadsl.verification.report import Finding
from aadsl.verification.rounding import rounding_of
from aadsl.verification.stretch import Stretch

# Relative deviation of a replayed stretch that needs no explanation: on the same kernels, and on others.
SAME_KERNELS = 1e-4
OTHER_KERNELS = 2e-2


def replayed(history: History, chosen: Sequence[tuple[int, int]], progress: Progress) -> Iterator[Finding]:
    """Replay the stretches between the ``chosen`` pairs of stored states, and yield what that finds."""
    trajectory = history.trajectory
    if not chosen:
        few = len(trajectory.checkpoints) < 2
        why = "there is only one stored state" if few else "the stored states lie too far apart for a spot check"
        yield Finding("note", f"no step was replayed: {why}")
        return
    kernels = _kernels(trajectory, history.device)
    if kernels:
        yield Finding("note", f"recorded with other kernels ({kernels}); small deviations are tolerated")
    threads = _threads(trajectory, history.device)
    if threads:
        yield Finding("note", f"recorded with {threads}, which rounds otherwise")
    tolerance = OTHER_KERNELS if kernels else SAME_KERNELS
    stretches = []
    for done, (start, stop) in enumerate(chosen, 1):
        stretches.append(Stretch(history, start, stop, tolerance))
        try:
            stretches[-1].deviation  # noqa: B018  computed here, where progress is told
        except AadslError as error:
            yield unfit(error)
            return
        progress("verifying", done, len(chosen))
    yield from _judged(trajectory, stretches, rounds_otherwise=bool(kernels or threads) or history.device.type != "cpu")


def unfit(error: AadslError) -> Finding:
    """Return what an error of joining, or replaying, a run with model, loss and data says."""
    return Finding("failed", str(error).replace("\n", "; "), "model or data")


def _judged(trajectory: Trajectory, stretches: list[Stretch], rounds_otherwise: bool) -> Iterator[Finding]:
    near: list[Stretch] = []
    wrong: list[Stretch] = []
    blurred: list[Stretch] = []
    loose: dict[str, None] = {}
    for stretch in stretches:
        if stretch.fits:
            near.append(stretch)
            continue
        rounding = rounding_of(stretch)
        if rounding.explains:
            near.append(stretch)
            loose |= dict.fromkeys(rounding.loose)
        elif rounding.decides:
            (blurred if rounds_otherwise else wrong).append(stretch)
        else:
            wrong.append(rounding.rest)
    if blurred:
        places = ", ".join(f"{stretch.start} … {stretch.stop - 1}" for stretch in blurred[:3])
        text = (
            f"rounding decides where steps {places}{' …' if len(blurred) > 3 else ''} end, so their replay says nothing"
        )
        yield Finding("note", f"{text}; more stored states (states=) make stretches shorter")
    if wrong:
        yield from explain(trajectory, wrong, len(stretches))
    elif near:
        yield Finding("passed", _nearness(near, list(loose)))


def _nearness(stretches: list[Stretch], loose: list[str]) -> str:
    steps = sum(map(len, stretches))
    text = f"{steps:,} steps in {len(stretches)} stretches were replayed, "
    if all(stretch.exact for stretch in stretches):
        return f"{text}every bit the same"
    if not all(stretch.fits for stretch in stretches):
        more = f" and {len(loose) - 2} more" if len(loose) > 2 else ""
        names = f"; it alone decides the values of {', '.join(loose[:2])}{more}" if loose else ""
        return f"{text}as near as rounding lets them come{names}"
    return f"{text}to within {max(stretch.deviation for stretch in stretches):.1g} of what they moved"


def _kernels(trajectory: Trajectory, device: torch.device) -> str:
    """Return in which way the recorded run computed with other kernels than this process would."""
    recorded = trajectory.provenance
    here = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    pairs = [
        (f"PyTorch {recorded.get('torch', '?')}", f"PyTorch {torch.__version__}"),
        (recorded.get("device", "?"), here),
        (recorded.get("platform", "?").rsplit("-", 1)[0], platform.platform().rsplit("-", 1)[0]),
    ]
    return ", ".join(f"{before}, here {now}" for before, now in pairs if before != now)


def _threads(trajectory: Trajectory, device: torch.device) -> str:
    here = str(torch.get_num_threads())
    before = trajectory.provenance.get("threads", here)
    return f"{before} threads, here {here}" if device.type == "cpu" and before != here else ""
