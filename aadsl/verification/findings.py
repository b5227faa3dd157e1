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
from aadsl.verification.report import Compared, Finding
from aadsl.verification.rounding import FARTHEST, rounding_of
from aadsl.verification.stretch import SpentError, Stretch

# Relative deviation of a replayed stretch that needs no explanation: on the same kernels, and on others.
SAME_KERNELS = 1e-4
OTHER_KERNELS = 2e-2
ENOUGH = 8  # stretches that do not fit tell the cause


def replayed(history: History, chosen: Sequence[tuple[int, int]], most: float, progress: Progress) -> Iterator[Finding]:
    """Replay the stretches between the ``chosen`` pairs of stored states, short ones first, and yield what that finds.

    No more than ``most`` steps are replayed. No more stretches are once enough of them are known not to fit, or once
    rounding is known to decide where they end: what it does to short ones it does to longer ones. To find the cause of
    what does not fit takes as many steps as the run has, at most.
    """
    trajectory = history.trajectory
    if not chosen:
        few = len(trajectory.checkpoints) < 2
        why = "there is only one stored state" if few else "the stored states lie too far apart for a spot check"
        yield Finding("note", f"no step was replayed: {why}")
        return
    judge, most = Judge(history), history.replayed_steps + most
    yield from judge.notes()
    done, total = 0, sum(stop - start for start, stop in chosen)

    def stepped() -> None:
        nonlocal done
        done = min(done + 1, total)  # where something does not fit, steps are replayed again
        progress("verifying steps", done, total)

    for place, (start, stop) in enumerate(sorted(chosen, key=lambda pair: pair[1] - pair[0])):
        if judge.would_say_nothing(stop - start):
            judge.left_out += len(chosen) - place
            break
        try:
            judge.add(Stretch(history, start, stop, judge.tolerance, stepped=stepped, most=most))
        except SpentError:
            judge.unafforded += len(chosen) - place
            break
        except AadslError as error:
            yield unfit(error)
            return
        if len(judge.wrong) == ENOUGH:
            break
    yield from judge.findings(trajectory)


def unfit(error: AadslError) -> Finding:
    """Return what an error of joining, or replaying, a run with model, loss and data says."""
    return Finding("failed", str(error).replace("\n", "; "), "model or data")


class Judge:
    """Tells the stretches that end where the run did from the others; of those that do only what is said is held.

    Attributes:
        tolerance: relative deviation that needs no explanation.
        near, blurred, wrong: what ends where the run did, what says nothing, and what ends elsewhere.
    """

    def __init__(self, history: History) -> None:
        self._kernels = _kernels(history.trajectory, history.device)
        self._threads = _threads(history.trajectory, history.device)
        self._rounds_otherwise = bool(self._kernels or self._threads) or history.device.type != "cpu"
        self.tolerance = OTHER_KERNELS if self._kernels else SAME_KERNELS
        self.near: list[Compared] = []
        self.wrong: list[Stretch] = []
        self.blurred: list[Compared] = []
        self.loose: dict[str, None] = {}
        self.idle = 0  # stretches that fit whatever the loss
        self.left_out = 0  # stretches too long for a replay to say something
        self.unafforded = 0  # stretches that are too many for the time that a check may take

    def notes(self) -> Iterator[Finding]:
        """Yield in which way the run was computed otherwise than it is replayed."""
        if self._kernels:
            yield Finding("note", f"recorded with other kernels ({self._kernels}); small deviations are tolerated")
        if self._threads:
            yield Finding("note", f"recorded with {self._threads}, which rounds otherwise")

    def add(self, stretch: Stretch) -> None:
        """Replay a stretch and see where it ends.

        Raises:
            SpentError: that, or whether rounding explains it, takes more steps than it may.
        """
        found = Compared(stretch.start, stretch.stop, stretch.deviation, stretch.fits, stretch.exact)
        if stretch.fits:
            self.near.append(found)
            self.idle += not stretch.moves
            return
        if self._rounds_otherwise and self.would_say_nothing(len(stretch)) and stretch.deviation < FARTHEST:
            self.blurred.append(found)
            return
        try:
            rounding = rounding_of(stretch)
        except SpentError:
            if self._rounds_otherwise:
                raise
            self.wrong.append(stretch)
            return
        if rounding.explains:
            self.near.append(found)
            self.loose |= dict.fromkeys(rounding.loose)
        elif rounding.decides and self._rounds_otherwise:
            self.blurred.append(found)
        else:
            self.wrong.append(stretch if rounding.decides else rounding.rest)

    def would_say_nothing(self, steps: int) -> bool:
        """Return whether rounding decided where two stretches end that were no longer than so many steps."""
        lengths = sorted(stop - start for start, stop, *_ in self.blurred)
        return len(lengths) > 1 and steps >= lengths[1]

    def findings(self, trajectory: Trajectory) -> Iterator[Finding]:
        """Yield what the stretches say together."""
        if self.blurred:
            places = ", ".join(f"{start} … {stop - 1}" for start, stop, *_ in self.blurred[:3])
            more = " …" if len(self.blurred) > 3 else ""
            text = f"rounding decides where steps {places}{more} end, so their replay says nothing"
            if self.left_out:
                more = "another" if self.left_out == 1 else f"{self.left_out} others"
                text += f", and that of {more} as long or longer would not"
            text += "; more stored states (states=) make stretches shorter"
            yield Finding("note", text, compared=tuple(self.blurred))
        if self.unafforded:
            what = "a stretch was" if self.unafforded == 1 else f"{self.unafforded} stretches were"
            yield Finding("note", f"{what} not compared, because that would have taken longer than it may")
        if self.wrong:
            wrong = sorted(self.wrong, key=lambda stretch: stretch.start)
            yield from explain(trajectory, wrong, len(self.near) - self.idle + len(self.wrong) + len(self.blurred))
        elif self.near:
            yield Finding("passed", self._nearness(), compared=tuple(self.near))

    def _nearness(self) -> str:
        steps = sum(stop - start for start, stop, *_ in self.near)
        text = f"{steps:,} steps in {len(self.near)} stretches were replayed, "
        if all(one.exact for one in self.near):
            return f"{text}every bit the same"
        if not all(one.fits for one in self.near):
            loose = list(self.loose)
            more = f" and {len(loose) - 2} more" if len(loose) > 2 else ""
            names = f"; it alone decides the values of {', '.join(loose[:2])}{more}" if loose else ""
            return f"{text}as near as rounding lets them come{names}"
        return f"{text}to within {max(one.deviation for one in self.near):.1g} of what they moved"


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
