"""How far a number can be trusted, as a word and its reason. The rule is here and nowhere else.

Evidence alone counts: an exact answer above the noise floor, or an interval that exact answers gave. What was compared
with nothing is never more than low: over 36 networks, activations, optimizers and learning rates first-order effects
were off by 1 to 600%, and nothing that costs no retraining told the good ones from the bad.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Literal

from aadsl.core.numbers import signed

Level = Literal["high", "medium", "low"]

NARROW = 0.15  # half the interval over the estimate, at most: high
ABOVE = 2.0  # an exact effect this many times the noise floor: high


@dataclass(frozen=True)
class Evidence:
    """What is known about one number.

    Attributes:
        effect: the number.
        exact: it was computed by training again.
        noise: for an exact number: by how much a run without any change is off.
        low: lower end of the 90% interval of an estimate, NaN where it has none; ``high`` the upper one.
        pairs: how many exact answers the estimates were compared with.
        unverified: why the trajectory fails verification, empty where it does not.
        uncompared: the steps at the end of an exact number's run whose replay was compared with nothing; mostly none.
        present: whether a step of the stage came before the model that is asked about.
        repeats: how many trainings an exact number is the mean of; of several, the noise is half its 90% interval.
        approximate: which gaps of a reconstruction miss their checkpoint, in words; mostly none. The noise of an exact
            number is then also what that does.
        fixed: what is taken as it was recorded, although the model decided it; mostly nothing.
    """

    effect: float
    exact: bool = False
    noise: float = 0.0
    low: float = float("nan")
    high: float = float("nan")
    pairs: int = 0
    unverified: str = ""
    uncompared: str = ""
    present: bool = True
    repeats: int = 1
    fixed: str = ""
    approximate: str = ""


def verdict(evidence: Evidence) -> tuple[Level, str]:
    """Return the level of trust and the reason in words.

    >>> verdict(Evidence(0.5, low=0.2, high=0.8, pairs=12))
    ('medium', 'estimated; 90% interval +0.2 to +0.8, from 12 exact answers')
    """
    if evidence.unverified:
        return "low", f"the trajectory does not pass verification: {evidence.unverified}"
    if not evidence.present:
        return "high", "exact: all of it came after the model that is asked about"
    if evidence.fixed:
        level, reason = verdict(replace(evidence, fixed=""))
        said = f"{reason}; it takes {evidence.fixed} as recorded, and training anew might decide that otherwise"
        return ("medium" if level == "high" else level), said
    if evidence.approximate:
        level, reason = verdict(replace(evidence, approximate=""))
        if evidence.exact and not evidence.uncompared:
            reason = f"trained again; what the checkpoints hold besides moves the behavior by {evidence.noise:.2g}"
        return ("medium" if level == "high" else level), f"{reason}; {evidence.approximate}"
    if evidence.exact:
        return _of_exact(evidence)
    if isnan(evidence.low):
        few = f"compared with only {counted(evidence.pairs)}" if evidence.pairs else "compared with no exact answer"
        return "low", f"estimated; {few}, so nothing is known of its error"
    ends = f"{signed(evidence.low)} to {signed(evidence.high)}"
    words = f"estimated; 90% interval {ends}, from {evidence.pairs} exact answers"
    if evidence.high - evidence.low <= 2 * NARROW * abs(evidence.effect):
        return "high", words
    return ("medium" if evidence.low * evidence.high > 0 else "low"), words


def counted(answers: int) -> str:
    """Return a number of exact answers in words."""
    return f"{answers} exact {'answer' if answers == 1 else 'answers'}"


def _of_exact(evidence: Evidence) -> tuple[Level, str]:
    if evidence.uncompared:
        return "low", (
            f"trained again, but no state was recorded after {evidence.uncompared}, so it is not known whether their "
            "replay is the run"
        )
    if not evidence.noise:
        return "high", "exact: trained again, on the bits of the recorded run"
    words = f"trained again; a run without any change is off by {evidence.noise:.2g}"
    if evidence.repeats > 1:
        words = (
            f"the mean of {evidence.repeats} trainings, no two of which end alike; 90% interval ±{evidence.noise:.2g}"
        )
    return ("high" if abs(evidence.effect) >= ABOVE * evidence.noise else "low"), words
