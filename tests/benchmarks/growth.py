"""How cost and agreement grow over the sizes of the paper's Tables 3 to 5; a part of ``make figures PART=cost``.

One epoch over 2,000, 4,000 and 8,000 digits, at the paper's learning rates. Costs are those of ``cost``, in processor
time, which a busy machine changes least, as ratios to plain training in the same run; agreement is the correlation of
AA-Score with training again, over test digits, a mean over the thirds of the run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean, median

import numpy as np
import torch
from torch import Tensor

from aadsl.estimators import ESTIMATORS
from aadsl.propagation import CURVATURES
from tests.benchmarks import cost
from tests.benchmarks.report import stamp, write_section

EXAMPLES = (2000, 4000, 8000)
RATES = {"mlp": 0.001, "resnet": 0.0005}  # appendix E.2, E.3
CASES = {key: replace(cost.CASES[key], rate=rate, batch=20, steps=0) for key, rate in RATES.items()}


def agreement(case: cost.Case, data: tuple[Tensor, Tensor], steps: int) -> float:
    """Return Pearson's r of AA-Score with exact effects over ``PROBES`` digits, a mean over the thirds of the run."""
    with cost.scratch() as root:
        cost.train(case, data, steps, root / "run")
        study = cost.opened(case, data, root / "run")
        study.behavior("each", "log_likelihood", on=tuple(part[-cost.PROBES :] for part in data), per_example=True)
        thirds = {f"third {k + 1}": rows.tolist() for k, rows in enumerate(np.array_split(np.arange(steps), 3))}
        for name, rows in thirds.items():
            study.stage(name, rows)
        method = ESTIMATORS["first_order"](curvature=CURVATURES["exact"]())
        estimate, exact = (
            study.score([*thirds], ["each"], estimator=one).example_effect[:, 0] for one in (method, "retraining")
        )
    return mean(float(np.corrcoef(a, b)[0, 1]) for a, b in zip(estimate.to_numpy(), exact.to_numpy(), strict=True))


def rows(case: cost.Case, rounds: int, sizes: tuple[int, ...] = EXAMPLES) -> Iterator[str]:
    """Yield the table of one case."""
    data = cost.digits()
    for size in sizes:
        steps = size // case.batch
        found = cost.measure(case, steps, rounds, memory=False)
        names = [name for name in found.seconds if name != "plain training"]
        if size == sizes[0]:
            yield "| " + " | ".join([case.title, "steps", "plain training", *names, "Pearson's r"]) + " |"
            yield "| " + " | ".join(["---", *["---:"] * (len(names) + 3)]) + " |"
        ratios = [f"{found.ratios(name)[1]:.2f} ×" for name in names]
        plain = f"{median(found.cpu_seconds['plain training']):.2f} s"
        cells = [f"{size:,} examples", f"{steps:,}", plain, *ratios, f"{agreement(case, data, steps):.4f}"]
        yield "| " + " | ".join(cells) + " |"


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args(given).rounds
    torch.set_num_threads(1)
    taken = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    about = (
        "One epoch in steps of 20, learning rates of the paper's appendix E. Processor time as a ratio to plain"
        f" training, {taken}; Pearson's r of AA-Score, the exact Hessian, with training again, over {cost.PROBES}"
        " digits that neither was trained on, a mean over the thirds of the run."
    )
    lines = [line for case in CASES.values() for line in (*rows(case, rounds), "")]
    print("\n".join([stamp(), "", about, "", *lines]))
    write_section(cost.REPORT, cost.TITLE, "growth", about, lines[:-1])


if __name__ == "__main__":
    main()
