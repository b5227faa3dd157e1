"""How far a number can be trusted, as a word and its reason. The rule is here and nowhere else.

Only the exact answer, and an estimate that was checked against exact replays, is trusted highly; what costs nothing to
know can only warn. Where that stands on: first-order effects of single steps against true skips, momentum 0.9, real
digits, an MLP, ResNets with BatchNorm and GroupNorm, a Transformer. Where cotangents grew above 10-fold over the run,
relative errors were 91% and more (11 runs trained from scratch, learning rates 0.001 to 0.3). Where they grew at most
2-fold, errors were 1 to 12% in those runs, but up to 85% in pretrained ResNets: growth cannot vouch for an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["high", "medium", "low"]

GROWTH = 10.0  # above: low
DISAGREEMENT = (0.1, 0.3)  # relative, between the linear and the plug-in reading
ERROR = (0.15, 0.5)  # relative, against exact replays of single steps
CORRELATION = 0.95  # at least: medium, whatever the error: the order of the steps is right


@dataclass(frozen=True)
class Calibration:
    """Estimates of a few single steps beside their exact effects.

    Attributes:
        steps: the sampled steps.
        slope: of the estimates over the exact effects, through the origin; 1 is right.
        correlation: Pearson's r.
        relative_error: ‖estimate − exact‖ / ‖exact‖.
        interval: 90% interval of ``relative_error``, from resampling the steps.
    """

    steps: tuple[int, ...]
    slope: float
    correlation: float
    relative_error: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Evidence:
    """What is known about one number without retraining for it.

    Attributes:
        exact: it was computed by retraining.
        growth: how many-fold the cotangent grew at most, max ‖u_t‖ / ‖u_T‖.
        disagreement: |linear − plug-in| / |plug-in| of the two readings.
        plug_in: the number is the plug-in reading, which follows the behavior's own curvature as the linear one cannot.
        calibration: what exact replays of single steps said of the same estimator and behavior.
        unverified: why the trajectory fails verification, empty where it does not.
    """

    exact: bool = False
    growth: float | None = None
    disagreement: float | None = None
    plug_in: bool = False
    calibration: Calibration | None = None
    unverified: str = ""


def verdict(evidence: Evidence) -> tuple[Level, str]:
    """Return the level of trust and the reason in words: the worst of what is known, a calibration going before growth.

    >>> verdict(Evidence(growth=57.0))
    ('low', 'small changes grow 57-fold over the run: too unstable for a first-order estimate')
    """
    if evidence.unverified:
        return "low", f"the trajectory does not pass verification: {evidence.unverified}"
    if evidence.exact:
        return "high", "trained again: the exact effect"
    found: list[tuple[Level, str]] = []
    if evidence.calibration is not None:
        found.append(_of_calibration(evidence.calibration))
    elif evidence.growth is not None and evidence.growth > GROWTH:
        words = f"small changes grow {evidence.growth:.0f}-fold over the run: too unstable for a first-order estimate"
        found.append(("low", words))
    if evidence.disagreement is not None:
        found.append(_of_disagreement(evidence.disagreement, evidence.plug_in))
    if evidence.calibration is None:
        grown = "" if evidence.growth is None else f"small changes grow {evidence.growth:.1f}-fold over the run; "
        found.append(("medium", f"{grown}not compared with exact replays: study.check(…) does that for a few steps"))
    return min(found, key=lambda pair: ("low", "medium", "high").index(pair[0]))


def _of_calibration(found: Calibration) -> tuple[Level, str]:
    low, high = found.interval
    words = (
        f"against {len(found.steps)} exact replays: correlation {found.correlation:.2f}, "
        f"relative error {found.relative_error:.0%} (90% interval {low:.0%} to {high:.0%})"
    )
    if found.relative_error <= ERROR[0]:
        return "high", words
    return ("medium" if found.relative_error <= ERROR[1] or found.correlation >= CORRELATION else "low"), words


def _of_disagreement(disagreement: float, plug_in: bool) -> tuple[Level, str]:
    words = f"the linear and the plug-in reading differ by {disagreement:.0%}"
    if disagreement <= DISAGREEMENT[0]:
        return "high", words
    return ("medium" if plug_in or disagreement <= DISAGREEMENT[1] else "low"), words
