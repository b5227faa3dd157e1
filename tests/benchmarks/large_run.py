"""What a run that nobody measured here would need, computed from what :mod:`tests.benchmarks.scale` measured.

Disk, trainings and memory for a run of 10⁹ parameters and 100,000 steps: sections of scale.md. What a network of the
largest measured size takes is multiplied by the parameters and by the steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from aadsl.core.units import sized
from aadsl.replayed.held_states import HELD_BYTES, LONGEST
from aadsl.trajectory.record.pace import SHARE
from aadsl.trajectory.record.plans import SquareRoot, StatePlan, budget, every
from tests.benchmarks.scale_points import SHORT, Found
from tests.benchmarks.scale_report import further_steps

PARAMETERS, STEPS = 1_000_000_000, 100_000
SECONDS = 1.0
"""A step of training, on whatever trains such a network: assumed, and all hours are in proportion to it."""
FLOAT = 4
"""Bytes of a number; parameters, gradients and what the optimizer keeps are held in float32."""
OPTIMIZERS = {"SGD with momentum": 2, "AdamW": 3}
"""How many numbers a state has for each parameter."""
PLANS: dict[str, StatePlan] = {
    'states="sqrt"': SquareRoot(),
    'budget("1 TB")': budget("1 TB"),
    'budget("200 GB")': budget("200 GB"),
    "every(20_000)": every(20_000),
}
STAGES = (1, 10, 100, 1000)


class Constants(NamedTuple):
    """What was measured on the largest network: the times as ratios to a step of plain training, or to a training.

    Attributes:
        parameters: how many it has; ``blocks_on`` how many the largest has that blocks were measured on.
        step: seconds of the processor for a step of plain training.
        state: bytes of a state for each parameter.
        writing: seconds of the processor that recording takes for each byte of a state.
        replay: one replayed training without a stage, behaviors read off its end.
        sweep: one sweep for one behavior, ``blocks`` those of blocks.
        working: bytes for each parameter held by training, by an exact answer, by a sweep besides the steps it holds.
        first: what the first exact answer of the longest run takes, as a ratio to a further one.
    """

    parameters: int
    blocks_on: int
    step: float
    state: float
    writing: float
    replay: float
    sweep: float
    blocks: float
    working: dict[str, float]
    first: float


NEEDED = ("plain", "recorded", "sweep", "further exact")


def enough(found: Sequence[Found]) -> bool:
    """Return whether everything was measured that the constants are computed from."""
    activities = {axis: {one.activity for one in found if one.axis == axis} for axis in ("steps", "parameters")}
    return activities["steps"] >= {"first exact", "further exact"} and activities["parameters"] >= {*NEEDED, "blocks"}


def constants(found: Sequence[Found]) -> Constants:
    """Return them from the largest network on which all of this was measured."""
    found = further_steps(found)
    by_size = {(one.parameters, one.activity): one for one in found if one.axis == "parameters"}
    size = max(size for size, _ in by_size if all((size, activity) in by_size for activity in NEEDED))
    with_blocks = max(size for size, activity in by_size if activity == "blocks")
    plain, recorded, sweep, exact = (by_size[size, activity] for activity in NEEDED)
    step = plain.cpu / plain.steps
    blocks, base = by_size[with_blocks, "blocks"], by_size[with_blocks, "plain"]
    held = sweep.held * (sweep.state_bytes + FLOAT * size)
    working = {
        "training": plain.memory / size,
        "exact answer": exact.memory / size,
        "sweep": max(0, sweep.memory - held) / size,
    }
    long = {(one.steps, one.activity): one.cpu for one in found if one.axis == "steps"}
    longest = max(steps for steps, _ in long if {(steps, "first exact"), (steps, "further exact")} <= long.keys())
    return Constants(
        parameters=size,
        blocks_on=with_blocks,
        step=step,
        state=recorded.state_bytes / size,
        writing=max(0.0, recorded.cpu - plain.cpu) / recorded.steps * SHORT / recorded.state_bytes,
        replay=exact.cpu / exact.steps / step,
        sweep=sweep.cpu / sweep.steps / step,
        blocks=blocks.cpu / blocks.steps / (base.cpu / base.steps),
        working=working,
        first=long[longest, "first exact"] / long[longest, "further exact"],
    )


def told(known: Constants) -> Iterator[str]:
    """What the large run is computed from, and what follows at once: trainings are of the same length as the run.

    Times are of one core; those of a step are in proportion to the parameters, and to whatever trains. Ratios are taken
    as they are.
    """
    on = f"{known.parameters:,} parameters"
    state, wished = state_bytes(known, 2), len(kept(SquareRoot(), STEPS, 1))
    writing = known.writing * state
    affordable = math.floor(SHARE * SECONDS * STEPS / writing) if writing else wished
    step = known.step * PARAMETERS / known.parameters
    yield "| | | measured on, or computed |\n| --- | ---: | --- |"
    yield f"| a step of training | {known.step:.2f} s | {on}, 32 digits |"
    yield f"| a state | {known.state:.1f} bytes a parameter | {on}, SGD with momentum |"
    yield f"| copying, digesting and writing a state | {1e9 * known.writing:.1f} s a GB | {on} |"
    yield f"| a further exact answer from step 0 on | {known.replay:.2f} trainings | {on} |"
    yield f"| a sweep, `first_order` | {known.sweep:.1f} trainings | {on} |"
    yield f"| `blocks` | {known.blocks:.1f} trainings | {known.blocks_on:,} parameters |"
    yield f"| the first exact answer | {known.first:.1f} further ones | the longest run of the small network |"
    yield f"| a step of {PARAMETERS:,} parameters on such a core | {step:.1f} s | in proportion to the parameters |"
    yield f"| a training of {STEPS:,} steps of {SECONDS:g} s | {hours(1)} | assumed: set your own seconds |"
    yield f'| states that `states="auto"` keeps then | {min(wished, affordable):,} | at most {SHARE:.0%} of the time |'


def kept(plan: StatePlan, steps: int, state_bytes: int) -> list[int]:
    """Return the steps whose states a plan keeps: those that are due, without what it gives up, and the end."""
    due = [step for step in range(steps) if plan.due(step)]
    given_up = set(plan.surplus(due, state_bytes))
    return [*(step for step in due if step not in given_up), steps]


def held(gap: int, of_step: int) -> int:
    """Return how many observed steps a sweep holds at a time for gaps of so many steps, where memory allows it."""
    return max(2, gap if gap <= max(LONGEST, HELD_BYTES // of_step) else math.isqrt(gap) + 1)


def disk(known: Constants) -> Iterator[str]:
    """States that a plan keeps; what they take; what one sweep holds on the host between two of them.

    The bytes of a state with momentum are measured, those of AdamW are half as many more. Up to 64 steps between
    states are held at a time, of longer gaps about the square root, and as many states from which it is replayed.
    """
    heads = [f"{what}, {name}" for name in OPTIMIZERS for what in ("disk", "held by a sweep")]
    yield f"| | states | longest gap | {' | '.join(heads)} |\n| --- | ---: | ---: {'| ---: ' * len(heads)}|"
    for name, plan in PLANS.items():
        cells, counts, gaps = [], [], []
        for numbers in OPTIMIZERS.values():
            state = state_bytes(known, numbers)
            steps = kept(plan, STEPS, state)
            gap, of_step = max(b - a for a, b in pairwise(steps)), state + FLOAT * PARAMETERS
            most = held(gap, of_step)
            counts.append(len(steps))
            gaps.append(gap)
            cells += [big(len(steps) * state), big(most * of_step + -(-gap // most) * state)]
        yield f"| {name} | {_both(counts)} | {_both(gaps)} | {' | '.join(cells)} |"


def state_bytes(known: Constants, numbers: int) -> int:
    """Return the bytes of a state with so many numbers for each parameter."""
    return round(PARAMETERS * known.state * numbers / OPTIMIZERS["SGD with momentum"])


def _both(values: Sequence[int]) -> str:
    return " / ".join(f"{value:,}" for value in dict.fromkeys(values))


def big(size: float) -> str:
    return f"{size / 1e12:.1f} TB" if size >= 1e12 else sized(round(size))


def starts(stages: int) -> np.ndarray:
    """Return the steps at which so many stages begin, spread over the run, as shares of it."""
    return (np.arange(stages) + 0.5) / stages


def exact_tasks(known: Constants, stages: int) -> np.ndarray:
    """Return how many trainings each exact answer takes: what follows its stage."""
    return known.replay * (1 - starts(stages))


def trainings(known: Constants) -> Iterator[str]:
    """Trainings that answers to one behavior take, the comparison of the whole recording, one more replay, among them.

    Stages are spread over the run, so training without one takes half of it on average. Sweeps replay the gaps of so
    long a run once more. `auto` is exact where that takes no longer than `blocks`. Ratios are those of the largest
    network that was measured.
    """
    exact = [known.replay + exact_tasks(known, stages).sum() for stages in STAGES]
    blocks = known.blocks + known.replay
    rows = {
        "`retraining`": exact,
        "`first_order`": [known.sweep + known.replay] * len(STAGES),
        "`blocks`": [blocks] * len(STAGES),
        "`auto`": [min(one, blocks) for one in exact],
    }
    yield f"| | {' | '.join(counted(stages, 'stage') for stages in STAGES)} | hours, at {SECONDS:g} s a step |"
    yield f"| --- {'| ---: ' * len(STAGES)}| ---: |"
    for name, row in rows.items():
        told = [" (exact)" if name == "`auto`" and one <= blocks else "" for one in exact]
        cells = [f"{one:,.1f}{how}" for one, how in zip(row, told, strict=True)]
        span = dict.fromkeys([hours(row[0]), hours(row[-1])])
        yield f"| {name} | {' | '.join(cells)} | {' to '.join(span)} |"


def hours(amount: float) -> str:
    """Return so many trainings as hours."""
    return f"{amount * SECONDS * STEPS / 3600:,.0f} h"


def machines(known: Constants) -> Iterator[str]:
    """Memory beside the data: what was measured for each parameter, and for a network of a billion of them.

    That of answers comes on top of the study that was opened, which holds the model and a copy. Activations are those
    of 32 digits; a language model has many more, in training as in an answer. What a sweep holds between two states
    comes on top, in the memory of the host: see the table of states.
    """
    yield f"| | bytes a parameter | {PARAMETERS:,} parameters |\n| --- | ---: | ---: |"
    for name, each in known.working.items():
        yield f"| {name} | {each:.0f} | {big(each * PARAMETERS)} |"


def counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}"


SECTIONS = {"constants": told, "disk": disk, "trainings": trainings, "machines": machines}
