"""Table 1: insertion, mislabeled batches and three shifted stages on digits, in the paper's sizes (appendix E.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.fidelity import digits, rotated
from tests.benchmarks.models import mlp
from tests.paper.agreement import AA_SCORE, BASELINES, METHODS, TITLES, Agreement, compared
from tests.paper.keeping import Part, spread, table
from tests.paper.runs import Development, Job, in_order

ANGLES = (0.0, 45.0, 90.0)
RATE = 0.001
HELD_OUT = 9000  # the digits from here on are in no training set, unless it is said
PAPER = {  # its Table 1
    "paper: DVEmb": (0.9441, 0.9496, 0.9521, 0.9329, 0.9297, 0.9417),
    "paper: AA-Score": (0.9444, 0.9487, 0.9518, 0.9350, 0.9482, 0.9456),
}
COLUMNS = {"insert": ["insert"], "mislabel": ["mislabel"], "shift": ["shift 1", "shift 2", "shift 3"]}


class Size(NamedTuple):
    """How large everything is; the defaults are the paper's.

    Attributes:
        at: the step from which something is other than before.
        single: how many digits a run has that takes one a step.
    """

    seeds: int = 5
    hidden: int = 128
    at: int = 30
    single: int = 100
    mislabel: int = 10_000
    shift: int = 2_000
    batch: int = 100
    tests: int = 500


TOY = Size(seeds=2, hidden=16, at=6, single=10, mislabel=130, shift=20, batch=10, tests=20)


def network(seed: int, size: Size) -> torch.nn.Module:
    torch.manual_seed(seed)
    return mlp("relu", size.hidden)


def sampled(seed: int, size: Size) -> tuple[Tensor, Tensor]:
    """Return test digits, drawn from those that were held out."""
    images, labels = digits()
    rows = HELD_OUT + np.random.default_rng(seed).choice(len(labels) - HELD_OUT, size.tests, replace=False)
    return images[rows], labels[rows]


def insertion(seed: int, size: Size, momentum: float = 0.9) -> Development:
    """E.2.1: the first digits that are no 4, one a step, and at step 30 a 4 from the held-out digits."""
    images, labels = digits()
    others = torch.nonzero(labels[:HELD_OUT] != 4).flatten()[: size.single].tolist()
    four = int(HELD_OUT + torch.nonzero(labels[HELD_OUT:] == 4).flatten()[seed])
    batches = [np.array([row]) for row in [*others[: size.at], four, *others[size.at :]]]
    job = Job("insert", (images, labels), batches, RATE, momentum)
    return Development(network(seed, size), [job], {"insert": range(size.at, size.at + 1)}, {"0°": sampled(seed, size)})


def mislabeled(seed: int, size: Size, momentum: float = 0.9, examples: int | None = None) -> Development:
    """E.2.2: one epoch, the labels of five batches from step 30 on shifted by one, cyclically."""
    images, labels = digits()
    shifted, first = labels.clone(), size.at * size.batch
    wrong = slice(first, first + 5 * size.batch)
    shifted[wrong] = (labels[wrong] + 1) % 10
    batches = in_order(examples or size.mislabel, size.batch)
    job, stages = Job("mislabel", (images, shifted), batches, RATE, momentum), {"mislabel": range(size.at, size.at + 5)}
    return Development(network(seed, size), [job], stages, {"0°": sampled(seed, size)})


def shifts(seed: int, size: Size, momentum: float = 0.9, together: bool = False) -> Development:
    """E.2.3: 3, 1 and 1 epochs of digits turned by 0, 45 and 90 degrees; jobs of their own, or ``together`` one job."""
    images, labels = digits()
    looks = [(rotated(images[: size.shift], angle), labels[: size.shift]) for angle in ANGLES]
    epochs, each = (3, 1, 1), len(in_order(size.shift, size.batch))
    ends = each * np.cumsum([0, *epochs])
    stages = {f"shift {k + 1}": range(ends[k], ends[k + 1]) for k in range(3)}
    tests = sampled(seed, size)
    asked = {f"{angle:g}°": (rotated(tests[0], angle), tests[1]) for angle in ANGLES}
    if together:
        data = (torch.cat([look[0] for look in looks]), labels[: size.shift].repeat(3))
        batches = [rows for k in range(3) for rows in in_order(size.shift, size.batch, epochs[k], 0)]
        batches = [rows + size.shift * int(np.searchsorted(ends, t, "right") - 1) for t, rows in enumerate(batches)]
        jobs = [Job("shift", data, batches, RATE, momentum)]
    else:
        batches = [in_order(size.shift, size.batch, count) for count in epochs]
        jobs = [Job(name, looks[k], batches[k], RATE, momentum) for k, name in enumerate(stages)]
    return Development(network(seed, size), jobs, stages, asked)


class Variant(NamedTuple):
    """The same three developments, trained or asked about in another way."""

    title: str
    said: str
    protocols: Mapping[str, str]
    make: Mapping[str, Callable[[int, Size], Development]]
    methods: Sequence[str] = (*BASELINES, AA_SCORE, "linearized")


def variants() -> dict[str, Variant]:
    """Return all variants, the paper's first."""
    made = {"insert": insertion, "mislabel": mislabeled, "shift": shifts}
    local = {"insert": "skip", "mislabel": "skip", "shift": "restart"}
    other = {"insert": "restart", "mislabel": "restart", "shift": "skip"}
    return {
        "paper": Variant(
            "The paper's protocols", "Momentum 0.9, weight decay 1e-5.", local, made, (*BASELINES, *METHODS)
        ),
        "other": Variant(
            "The other protocol of each",
            "The optimizer starts afresh after the inserted or mislabeled steps; the three shifts are one job with one"
            " optimizer, of which the steps are skipped. (Of jobs of their own, both protocols ask for the same run.)",
            other,
            made | {"shift": lambda seed, size: shifts(seed, size, together=True)},
        ),
        "plain": Variant(
            "Without momentum",
            "The paper's protocols again, momentum 0: what DVEmb takes every optimizer for.",
            local,
            {name: lambda seed, size, make=make: make(seed, size, momentum=0.0) for name, make in made.items()},
        ),
        "held out": Variant(
            "Mislabeled batches, no test digit among the training digits",
            "9,000 training examples instead of 10,000.",
            {"mislabel": "skip"},
            {"mislabel": lambda seed, size: mislabeled(seed, size, examples=size.mislabel * 9 // 10)},
        ),
    }


Numbers = dict[str, dict[str, list[Agreement]]]
"""{method: {column: the agreement of each seed, a mean over the test sets of the column}}."""


def collected(part: Part, name: str, variant: Variant, size: Size) -> tuple[Numbers, dict[str, list[float]]]:
    """Measure a variant with all seeds; return the agreement of the methods, and the exact mean effects."""
    numbers: Numbers = {method: {} for method in variant.methods}
    exact: dict[str, list[float]] = {}
    for run, make in variant.make.items():
        for seed in range(size.seeds):
            found = part.measured(
                f"{name}, {run}, seed {seed}",
                lambda make=make, run=run, seed=seed: compared(
                    make(seed, size), variant.protocols[run], variant.methods
                ),
            )
            for column in COLUMNS[run]:
                for method, known in numbers.items():
                    tests = np.array([*found[method][column].values()], float)
                    known.setdefault(column, []).append(Agreement(*tests.mean(axis=0)))
                for test, (mean, _) in found["exact"][column].items():
                    exact.setdefault(f"{column} on {test}", []).append(mean)
    return numbers, exact


def agreement_table(numbers: Numbers, measure: str, paper: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the table of one measure; a column for each stage, and their mean."""
    columns = [*next(iter(numbers.values()))]
    rows = [[name, *(f"{value:.4f}" for value in values)] for name, values in paper.items()]
    for method, known in numbers.items():
        by_seed = [[getattr(one, measure) for one in known[column]] for column in columns]
        rows.append([method, *map(spread, by_seed), spread(np.mean(by_seed, axis=0))])
    return table(["", *columns, "mean"], rows)


def run(part: Part) -> None:
    """Measure everything and write the page."""
    size = TOY if part.toy else Size()
    part.write("Table 1: digits", [*lines(part, size)])


def lines(part: Part, size: Size) -> Iterator[str]:
    """Yield the page."""
    yield from ABOUT.format(seeds=size.seeds, tests=size.tests).splitlines()
    for name, variant in variants().items():
        numbers, exact = collected(part, name, variant, size)
        yield from ("", f"## {variant.title}", "", variant.said)
        for measure in TITLES if name == "paper" else ("pearson", "error"):
            paper = PAPER if (name, measure) == ("paper", "pearson") else {}
            yield from ("", f"{TITLES[measure]}:", "", *agreement_table(numbers, measure, paper))
        if name == "paper":
            rows = [[test, spread(values)] for test, values in exact.items()]
            yield from ("", "Exact effects, means over the test digits, in nats:", "", *table(["", "effect"], rows))
            yield from ("", *differences(numbers))


def differences(numbers: Numbers) -> Iterator[str]:
    """Yield where the numbers are not the paper's, and why as far as is known."""
    yield "Beside the paper's figures:"
    yield ""
    for position, column in enumerate(numbers[AA_SCORE]):
        ours = {name: np.mean([one.pearson for one in numbers[name][column]]) for name in ("DVEmb", AA_SCORE)}
        apart = {name: value - PAPER[f"paper: {name}"][position] for name, value in ours.items()}
        told = ", ".join(f"{name} {value:.3f} ({signed(apart[name])})" for name, value in ours.items())
        yield f"* {column}: {told}."


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


ABOUT = """Pearson's r and the others over {tests} test digits, mean ± standard deviation of {seeds} seeds (another
start of the network, other test digits, another inserted 4). A shift has the mean of what is found on the three test
sets, digits turned by 0, 45 and 90 degrees; the paper does not say which it takes. Exact effects are those of training
again: inserted and mislabeled steps are skipped within the run and momentum is left as it was; a shifted stage is left
out and the next begins with a fresh optimizer (appendix E.1).

Sizes, batches and rates are the paper's: a two-layer network of 128 units, learning rate 0.001; 101 steps of one digit;
100 of 100, five of them mislabeled from step 30 on; 60, 20 and 20 of 100. It does not tell momentum and weight decay of
these runs; 0.9 and 1e-5 are what its Figure 3 calls common. The package ships 10,000 digits, so the
test digits of "mislabel" are among its 10,000 training examples, each met once; a last table has none of them.

AA-Score is Estimator 4.3 with the exact Hessian; *layer by layer* drops the Hessian's blocks between layers, as the
paper's appendix C.1 says it does for scale. The default curvature, blocks and linearized are this package's own."""
