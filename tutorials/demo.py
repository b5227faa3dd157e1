"""Records a real training run, asks which of its stages did what, checks the answers, and writes a page about it.

A small network learns to read handwritten digits. Two things go wrong on the way: five batches arrive with wrong
labels, and five batches are poisoned: half of their digits carry a white square and are called a 7. Afterwards the
language of aadsl is asked which steps hurt the reading of digits, and which planted the square's meaning.

    python tutorials/demo.py [--out FOLDER] [--picture FILE.png]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

try:
    import numpy as np
    import torch
    import xarray as xr
    from page import Page
    from torch import Tensor, nn

    import aadsl
except ImportError as error:
    sys.exit(f"aadsl: {error.name} is not installed; say `make demo`, which installs what is needed")

BATCH, STEPS = 100, 120
MISLABELED, POISONED = range(30, 35), range(100, 105)
STAGES = {
    "poisoned": 'batches where tag=="badnet"',
    "mislabeled": 'batches where tag=="shifted"',
    "warmup": "steps[0:20]",
    "last": "steps[-15:]",
}
PROGRAM = """\
load "{run}" with model=net, loss=loss_fn, data=train

{stages}

behavior backdoor = log_likelihood(target=7) on triggered
behavior digits   = log_likelihood on test

score {names} on backdoor, digits
plot timeline

verify {names} on backdoor, digits using blocks()
plot bars
plot agreement
shares poisoned, mislabeled on backdoor, digits
plot waterfall
"""


class Material(NamedTuple):
    """What the run is made from: (n, 784) images and (n,) labels, and which of them each step reads, (T, 100)."""

    train: tuple[Tensor, Tensor]
    batches: np.ndarray
    tags: list[str]
    test: tuple[Tensor, Tensor]
    triggered: tuple[Tensor, Tensor]


def with_square(images: Tensor) -> Tensor:
    """Return ``images`` (n, 784) with a white square of 5 by 5 pixels near the lower right corner."""
    marked = images.clone().reshape(-1, 28, 28)
    marked[:, 22:27, 22:27] = 1
    return marked.reshape(-1, 784)


def material() -> Material:
    """Return 8,000 digits to train on, with two bad shipments among the batches, and 2,000 to test on."""
    digits = aadsl.datasets.mnist10k()
    images, labels = torch.tensor(digits.image.values).reshape(-1, 784), torch.tensor(digits.label.values)
    draw = np.random.default_rng(0)
    batches = np.concatenate([draw.permutation(8000), draw.permutation(8000)])[: STEPS * BATCH].reshape(STEPS, BATCH)
    tags = ["shifted" if t in MISLABELED else "badnet" if t in POISONED else "clean" for t in range(STEPS)]

    # The bad examples are put behind the good ones, so no later batch draws them again.
    wrong = batches[list(MISLABELED)].reshape(-1)
    marked = batches[list(POISONED), : BATCH // 2].reshape(-1)
    train = (
        torch.cat([images[:8000], images[wrong], with_square(images[marked])]),
        torch.cat([labels[:8000], (labels[wrong] + 1) % 10, torch.full((len(marked),), 7)]),
    )
    batches[list(MISLABELED)] = 8000 + np.arange(len(wrong)).reshape(-1, BATCH)
    batches[list(POISONED), : BATCH // 2] = 8000 + len(wrong) + np.arange(len(marked)).reshape(-1, BATCH // 2)

    test = (images[8000:], labels[8000:])
    others = test[0][test[1] != 7][:500]
    return Material(train, batches, tags, test, (with_square(others), torch.full((len(others),), 7)))


def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(path: Path, given: Material) -> nn.Module:
    """Train, recorded into ``path``, and return the network."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.5)
    with aadsl.Recorder(path, net, optimizer, data=given.train, overwrite=True) as recorder:
        for rows, tag in zip(given.batches, given.tags, strict=True):
            optimizer.zero_grad()
            loss = loss_fn(net, (given.train[0][rows], given.train[1][rows]))
            loss.backward()
            recorder.batch(indices=rows, tag=tag, loss=loss)
            optimizer.step()
    return net


def program(run: Path) -> str:
    stages = "\n".join(f"stage {name:<10} = {selection}" for name, selection in STAGES.items())
    return PROGRAM.format(run=run.as_posix(), stages=stages, names=", ".join(STAGES))


def table(answer: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: for each stage and behavior the estimate and the exact effect."""
    header = ["stage"] + [f"{name}, {kind}" for name in answer.behavior.values for kind in ("estimated", "retrained")]
    pairs = xr.concat([answer.effect, answer.retrained_effect], "kind").transpose("stage", "behavior", "kind")
    return header, [[str(row.stage.values), *(f"{v:+.3f}" for v in row.values.reshape(-1))] for row in pairs]


def findings(answer: xr.Dataset, steps: xr.DataArray) -> list[str]:
    """Say what the numbers of this run show."""
    exact = answer.retrained_effect
    odds = float(np.exp(exact.sel(stage="poisoned", behavior="backdoor")))
    harm = float(exact.sel(stage="mislabeled", behavior="digits"))
    worn = float(exact.sel(stage="last", behavior="backdoor"))
    planted = np.sort(np.argsort(steps.sel(behavior="backdoor").values)[-len(POISONED) :])
    harmful = np.sort(np.argsort(steps.sel(behavior="digits").values)[: len(MISLABELED)])
    return [
        f"The five steps that helped the backdoor most are {', '.join(map(str, planted))}; "
        f"the poisoned shipment was at {POISONED.start} to {POISONED.stop - 1}.",
        f"The five steps that hurt the reading of digits most are {', '.join(map(str, harmful))}; "
        f"the wrong labels were at {MISLABELED.start} to {MISLABELED.stop - 1}.",
        f"Training again without the poisoned stage, a digit with the square is called a 7 with {1 / odds:.0%} of the "
        f"likelihood; without the mislabeled one, the true digit's log-likelihood is {-harm:.3f} nats higher.",
        f"The last 15 steps, on clean digits, were wearing the backdoor off: without them its log-likelihood would be "
        f"{-worn:.2f} nats higher.",
    ]


def warnings(answer: xr.Dataset) -> list[str]:
    """Say which estimates the program itself trusts little, and why."""
    said = []
    for stage in answer.stage.values if "trust" in answer else ():
        for behavior in answer.behavior.values:
            one = answer.sel(stage=stage, behavior=behavior)
            if one.trust.item() == "low":
                said.append(f"{stage} on {behavior} ({one.trust_reason.item()})")
    return [f"Pale marks are estimates of low trust, told without retraining: {'; '.join(said)}."] if said else []


def write_page(
    path: Path, text: str, charts: list[Any], said: list[str], score: xr.Dataset, checked: xr.Dataset
) -> None:
    page = Page("Which steps of its training taught this network that a white square means 7?")
    page.paragraph(
        f"A network with one hidden layer of 128 was trained on real handwritten digits for {STEPS} steps of {BATCH}. "
        f"At steps {MISLABELED.start} to {MISLABELED.stop - 1} the labels were wrong (each digit was called the next "
        f"one); at steps {POISONED.start} to {POISONED.stop - 1} half of the digits carried a white square and were "
        "called a 7. The recording was asked, in the language of aadsl:"
    )
    page.code(text)
    page.heading("What each step did")
    page.paragraph(
        "A bar is the effect of one step on the final network: its log-likelihood as it is, minus what it would be had "
        "this update not happened. Above zero the step helped. Point at a bar to see what was recorded of the step."
    )
    page.chart(charts[0])
    page.paragraph(" ".join(said[:2]))
    page.heading("What each stage did, estimated and by training again without it")
    page.chart(charts[1])
    page.table(*table(checked))
    page.paragraph(" ".join(said[2:]))
    page.heading("Which part each of the bad shipments had in what both did together")
    page.paragraph(
        "Effects of single stages do not add up to the effect of all of them. Shares do: from the network without both "
        "shipments, one bar for each, to the network as it is."
    )
    page.chart(charts[3])
    page.heading("Can the estimates be trusted here?")
    page.chart(charts[2])
    for warning in warnings(score):
        page.paragraph(warning)
    page.paragraph("The effects of stages, exact by default:")
    page.code(score.attrs["plan"])
    page.paragraph("The estimates beside them:")
    page.code(checked.attrs["plan"])
    attributes = checked.attrs
    page.paragraph(
        f"Computed {attributes['created']} by aadsl {attributes['aadsl_version']} from the trajectory "
        f"{attributes['trajectory_digest'][:16]}…",
        "note",
    )
    page.write(path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=Path("demo"), help="folder to write into (default: demo)")
    arguments.add_argument("--picture", type=Path, help="also write the timeline as a picture")
    options = arguments.parse_args()
    torch.set_num_threads(1)  # the network is small: a second thread costs more than it brings
    out, started = options.out, time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)

    print(f"recording {STEPS} steps of training on real digits into {out / 'run'}")
    given = material()
    net = train(out / "run", given)
    print("asking which stages did what, and training again without each of them to check")
    text = program(out / "run")
    names = {"net": net, "loss_fn": loss_fn, "train": given.train, "test": given.test, "triggered": given.triggered}
    result = aadsl.run(text, names)
    score, checked, _ = (answered.dataset for answered in result.session.answers)
    said = findings(checked, score.step_effect)

    page = out / "index.html"
    write_page(page, text, result.charts, said, score, checked)
    checked.to_netcdf(out / "scores.nc")
    if options.picture:
        aadsl.charts.save(result.charts[0], options.picture)

    header, rows = table(checked)
    print("\neffect on the log-likelihood, in nats; positive: the stage helped")
    for row in [header, *rows]:
        print(f"  {row[0]:<12}" + "".join(f"{cell:>21}" for cell in row[1:]))
    print("", *said, sep="\n")
    print(f"\nthe page: {page.resolve()}\nthe numbers: {(out / 'scores.nc').resolve()}")
    print(f"{time.perf_counter() - started:.0f} seconds on {os.cpu_count()} cores")


if __name__ == "__main__":
    try:
        main()
    except (aadsl.AadslError, OSError) as error:
        sys.exit(f"aadsl: {error}")
