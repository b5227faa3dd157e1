"""The checks in order: files, then model and data, then a replay; the first kind that fails explains the later ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.exclusive import one_at_a_time
from aadsl.core.progress import Progress, silent
from aadsl.replayed.history import History
from aadsl.replayed.joins import joined
from aadsl.replayed.models import Models
from aadsl.replayed.training_data import TrainingData
from aadsl.replayed.trial import require_loss
from aadsl.trajectory import Trajectory
from aadsl.verification.findings import replayed, unfit
from aadsl.verification.fit import fitting
from aadsl.verification.report import Finding, Report
from aadsl.verification.stretch import affordable

SPOTS = 3  # stretches that a spot check replays at most
SHARE = 20  # it replays one in so many steps
FREE = 30  # steps of a small network, whose replay is over before anyone waits
FEWEST = 5  # replays of a stretch that tell whether rounding explains where it ends

Gaps = list[tuple[int, int]]


@checked
@one_at_a_time
def verify(
    trajectory: Trajectory,
    *,
    model: nn.Module | Mapping[Any, Any] | None = None,
    loss: Any = None,
    data: Any = None,
    samples: int = 8,
    device: str | torch.device = "auto",
    optimizer: Callable[..., Optimizer] | None = None,
    generators: Sequence[Any] = (),
    joins: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Report:
    """Check a trajectory and say in plain words what does not match.

    Args:
        trajectory: what was recorded.
        model: the model that was trained, or a dict of them by run; without it only files are checked.
        loss: ``loss(model, batch)``, or a dict of them by run.
        data: what the recorded indices point into, or a dict of it by run.
        samples: how many stretches between stored states are replayed, spread over the run.
        device: where to replay.
        optimizer: makes the optimizer that trained, needed where :class:`aadsl.Study` needs it.
        generators, joins: as that class takes them: random generators of one's own, how a run of several begins.
        progress: called after each file that was checked and each step that was replayed.

    Raises:
        AadslError: ``joins`` says nothing of how a run begins, or a generator is none.
    """
    if model is not None:
        trajectory, model = joined(trajectory, joins, model)
    findings = [*_files(trajectory, progress)]
    if model is not None and loss is not None and not _failed(findings):
        given = {"model": model, "loss": loss, "optimizer": optimizer, "device": device, "generators": generators}
        findings += _replayed(trajectory, given, data, samples, progress)
    elif not _failed(findings):
        findings.append(Finding("note", "no step was replayed: that needs model=, loss= and data="))
    return Report(str(trajectory.path), tuple(findings))


def verify_history(
    history: History, samples: int | None = 8, progress: Progress = silent, stretches: Gaps | None = None
) -> Report:
    """Check a trajectory that is joined with its model, loss and data already; as :func:`verify`.

    Without ``samples`` it is a spot check: files, model and data as ever, but at most a twentieth of the steps is
    replayed, or what takes no time that one would notice. ``stretches``: replay these, each from one stored state to
    the next, instead of a sample.
    """
    trajectory = history.trajectory
    findings = [*_files(trajectory, progress, into_states=samples is not None)]
    if not _failed(findings):
        findings += fitting(trajectory, history.private_models, history.data)
        if not _failed(findings):
            require_loss(history)
            findings += replayed(history, *_asked(history, samples, stretches), progress)
    return Report(str(trajectory.path), tuple(findings))


def _failed(findings: list[Finding]) -> bool:
    return any(finding.outcome == "failed" for finding in findings)


def _files(trajectory: Trajectory, progress: Progress, *, into_states: bool = True) -> Iterator[Finding]:
    problems = trajectory.violations(progress, into_states=into_states)
    for problem in problems:
        if problem.startswith("note: "):
            yield Finding("note", problem.removeprefix("note: "))
        else:
            yield Finding("failed", problem, _file_cause(problem))
    if not problems:
        yield Finding("passed", f"every file is as it was written, {trajectory.length:,} steps without a gap")


def _file_cause(problem: str) -> str:
    if "missing" in problem and "variable" not in problem:
        return "missing segment"
    if "did not begin where" in problem:
        return "broken chain"
    return "changed file" if "digest" in problem or "cut short" in problem else "schema"


def _replayed(
    trajectory: Trajectory, given: dict[str, Any], data: Any, samples: int, progress: Progress
) -> Iterator[Finding]:
    try:
        examples = TrainingData.of(data, trajectory)
        models = Models.of(given["model"], given["loss"], trajectory).models
        findings = fitting(trajectory, models, examples)
        yield from findings
        if _failed(findings):
            return
        if not trajectory.length:
            yield Finding("note", "no step was replayed: there is none")
            return
        history = History(trajectory, **given, data=examples)
        require_loss(history)
    except AadslError as error:
        yield unfit(error)
        return
    yield from replayed(history, *_asked(history, samples, None), progress)


def _asked(history: History, samples: int | None, stretches: Gaps | None) -> tuple[Gaps, float]:
    """Return the stretches to replay, and how many steps that may take, those that tell what rounding does included."""
    if stretches is not None:  # an answer needs each: one that is left out would vouch for nothing
        return stretches, inf
    if samples is None:
        chosen = spots(history)
        return chosen, max(affordable(history, SHARE), FEWEST * min(map(_steps, chosen), default=0))
    return _chosen(history.trajectory, samples, 0), affordable(history)


def spots(history: History) -> Gaps:
    """Return the stretches that a spot check replays."""
    return _chosen(history.trajectory, None, min(FREE, affordable(history, SHARE)))


def _chosen(trajectory: Trajectory, samples: int | None, free: int) -> Gaps:
    """Return the gaps between stored states that are replayed: of every job of a chain some."""
    gaps = list(pairwise(trajectory.checkpoints))
    chosen: Gaps = []
    for job in trajectory.jobs:
        own = [gap for gap in gaps if job.start <= gap[0] < job.stop]
        each = None if samples is None else samples // len(trajectory.jobs)
        chosen += _affordable(own, job.stop - job.start, free) if each is None else _spread(own, each)
    return chosen


def _spread(gaps: Gaps, samples: int) -> Gaps:
    """Return the first, the last and evenly spaced ones between."""
    samples = max(2, samples)
    if len(gaps) <= samples:
        return gaps
    places = torch.linspace(0, len(gaps) - 1, samples).round().long().tolist()
    return [gaps[place] for place in sorted(set(places))]


def _affordable(gaps: Gaps, length: int, free: int) -> Gaps:
    """Return a few gaps, spread, with a twentieth of all steps at most, or as many as are ``free``.

    One gap of one step is returned in any case.
    """
    chosen = _spread(gaps, SPOTS) if len(gaps) > SPOTS else gaps
    chosen = sorted(chosen, key=_steps)
    most = max(1, free, length // SHARE)
    while sum(map(_steps, chosen)) > most:
        chosen.pop()
    return sorted(chosen)


def _steps(gap: tuple[int, int]) -> int:
    return gap[1] - gap[0]
