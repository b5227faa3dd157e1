"""What recording and attribution cost on the card at hand: ``python -m tests.benchmarks.gpu [parts] [--out FILE]``.

The paper's Tables 3 and 4 (logging, attribution and peak memory as ratios to training) beside its figures, what sweeps
and verification cost, 64 exact answers together and one after the other, and whether the same training ends twice at
the same place. Networks have random weights, data lie in memory. Each part is printed when it is done, and kept in
FILE, from which it is not measured again on this card with this PyTorch; a part for which no time is left is left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.benchmarks import models
from tests.benchmarks.gpu_cases import LENGTHS, PAPER, Case, cases, digits, table_cases
from tests.benchmarks.gpu_measuring import SWEEPS, Bench, Found

FULL, BRIEF = 18, 8  # trainings that measuring a case takes, about
START = 6  # seconds that it takes besides


class Part(NamedTuple):
    """What is measured in one go, and about how many seconds that takes."""

    title: str
    guess: float
    measure: Callable[[Bench], Found]


def parts(toy: bool) -> dict[str, Part]:
    """Return all parts, the most telling first."""
    own, tables = cases(toy), table_cases(toy)
    found = {key: _of_case(case) for key, case in own.items()}
    runs, alone, steps = (3, 2, 4) if toy else (64, 8, 200)
    small = Case("MLP 784–128–10, batch 100", models.mlp, own["mlp"].examples, 100, 1e-3, steps, 1)
    width, batch = (4, 4) if toy else (16, 32)
    network, images = partial(models.resnet18, width), partial(digits, 28)
    deep = Case(f"ResNet18, width {width}, batch {batch}", network, images, batch, 1e-3, steps // 4 + 2, 10)
    for key, case in {"ensemble-mlp": small, "ensemble-resnet": deep}.items():
        title = f"{runs} exact answers, {case.title}, {case.steps} steps"
        found[key] = Part(title, 0 if toy else 15, partial(Bench.ensemble, case=case, runs=runs, alone=alone))
    noisy = replace(own["resnet18"], steps=min(60, own["resnet18"].steps))
    found["twice"] = Part(f"the same training twice, {noisy.title}", 0 if toy else 8, partial(Bench.twice, case=noisy))
    return found | {key: _of_case(case) for key, case in tables.items()}


def _of_case(case: Case) -> Part:
    trainings = BRIEF if case.brief else FULL
    guess = case.steps * case.guess / 1000 * trainings + START if case.guess else 0
    return Part(case.title, guess, partial(Bench.run, case=case))


def line(title: str, found: Found) -> str:
    """Return what a part found, in a line."""
    if "why" in found:
        return f"{title}: {found['why']}"
    if "plain" not in found:
        cells = [f"{name} {_told(one, found)}" for name, one in found.items() if isinstance(one, dict)]
        return f"{title}: {', '.join(cells)}"
    base = training(found)
    if base is None:
        return f"{title}: training {_told(found['plain'], found)}"
    cells = [f"{1000 * base / found['steps']:.2f} ms a step, {found['steps']} steps"]
    names = ["recorded", "spot check", "verification", *(f"sweep, {name}" for name in SWEEPS)]
    cells += [f"{name} {_ratio(found[name], base)}" for name in names if name in found]
    cells.append(f"peak {_mebibytes(found['plain'])} / {_mebibytes(found.get('sweep, default', {}))} MiB")
    return f"{title}: {'; '.join(cells)}"


def training(found: Found) -> float | None:
    """Return the seconds of plain training: the mean of before and after recording."""
    taken = [found[name]["seconds"] for name in ("plain", "again") if "seconds" in found.get(name, {})]
    return sum(taken) / len(taken) if taken else None


def _ratio(one: Found, base: float) -> str:
    if "seconds" not in one:
        return str(one.get("failed", "–"))
    closing = f" + {one['closing']:.1f} s to close, {one['states']} states" if "closing" in one else ""
    chosen = f" ({one['curvature']})" if one.get("curvature") else ""
    passed = " (failed)" if one.get("passed") is False else ""
    return f"{one['seconds'] / base:.2f} ×{closing}{chosen}{passed}"


def _told(one: Found, found: Found) -> str:
    if "failed" in one:
        return str(one["failed"])
    told = f"{one['seconds']:.2f} s"
    if "apart" in one:
        told += f", ends {one['apart']:.2g} of the way apart"
    if "runs" in one:
        told += f" for {one['runs']} ({1000 * one['seconds'] / one['runs']:.1f} ms each)"
    return told


def _mebibytes(one: Found) -> str:
    return f"{one['peak'] / 2**20:,.0f}" if "peak" in one else "–"


def costs_table(found: dict[str, Found]) -> Iterator[str]:
    """Yield what each case cost, a line of Markdown each."""
    yield (
        "| | plain | recorded | "
        + " | ".join(f"sweep, {n}" for n in SWEEPS)
        + " | peak memory: training / sweep | "
        + ("spot check | verification |")
    )
    yield "|" + " --- |" * (6 + len(SWEEPS))
    for key, case in cases().items():
        one = found.get(key, {})
        base = training(one)
        if base is None:
            continue
        cells = [f"{case.title}, {one['steps']} steps", f"{1000 * base / one['steps']:.2f} ms a step"]
        cells += [_ratio(one.get(name, {}), base) for name in ("recorded", *(f"sweep, {name}" for name in SWEEPS))]
        cells.append(f"{_mebibytes(one['plain'])} / {_mebibytes(one.get('sweep, default', {}))} MiB")
        cells += [_ratio(one.get(name, {}), base) for name in ("spot check", "verification")]
        yield "| " + " | ".join(cells) + " |"


def paper_table(found: dict[str, Found]) -> Iterator[str]:
    """Yield the rows of the paper's Tables 3 and 4, its figures before those of this card."""
    yield (
        "| model | examples | training, s | logging / training | attribution / training | peak memory / training |"
        " steps measured |"
    )
    yield "|" + " --- |" * 7
    for key, paper in PAPER.items():
        case = cases()[key]
        for column, length in enumerate(LENGTHS):
            steps = 1000 * length // case.batch
            one = found.get(f"{key}-{length}k", found.get(key, {}))
            base = training(one)
            if base is None:
                continue
            rest = paper.training[column]
            recorded, swept = one.get("recorded", {}), one.get("sweep, default", {})
            logged = recorded["seconds"] + recorded["closing"] if "seconds" in recorded else None
            peaks = swept["peak"] / one["plain"]["peak"] if "peak" in swept and "peak" in one["plain"] else None
            cells = [
                case.title.split(",")[0],
                f"{length}K",
                f"{rest} / {base / one['steps'] * steps:.1f}",
                f"{paper.logging[column] / rest:.2f} / {_number(logged, base, recorded)}",
                f"{paper.attribution[column] / rest:.2f} / {_number(swept.get('seconds'), base, swept)}",
                f"{paper.peak_attribution / paper.peak:.1f} / {'–' if peaks is None else f'{peaks:.1f}'}",
                f"{one['steps']} of {steps}",
            ]
            yield "| " + " | ".join(cells) + " |"


def _number(seconds: float | None, base: float, one: Found) -> str:
    return str(one.get("failed", "–")) if seconds is None else f"{seconds / base:.2f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts(False))}; all by default")
    parser.add_argument(
        "--toy", action="store_true", help="everything in small, on the CPU, which says nothing of a GPU"
    )
    parser.add_argument("--out", type=Path, help="where parts are kept, a line of JSON each")
    parser.add_argument("--minutes", type=float, default=4.5, help="what all parts may take")
    options = parser.parse_args(arguments)
    begun, known = time.monotonic(), parts(options.toy)
    if unknown := set(options.parts) - set(known):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    device = torch.device("cuda" if torch.cuda.is_available() and not options.toy else "cpu")
    card = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    where = {"card": card, "torch": torch.__version__, "toy": options.toy}
    print(f"{card}, PyTorch {torch.__version__}, {date.today()}; sweeps and checks as ratios to training", flush=True)
    done = dict(_kept(options.out, where))
    for key in options.parts or known:
        part, left = known[key], 60 * options.minutes - (time.monotonic() - begun)
        if key in done:
            print(f"{line(part.title, done[key])} [{done[key]['date']}]", flush=True)
            continue
        if part.guess > left:
            print(f"{part.title}: left out, it takes about {part.guess:.0f} s and {left:.0f} s are left", flush=True)
            continue
        found = _measured(part, Bench(device, warm=not options.toy))
        done[key] = {"part": key, "date": str(date.today()), **where, **found}
        print(line(part.title, done[key]), flush=True)
        if options.out is not None and "why" not in found:
            with options.out.open("a") as file:
                print(json.dumps(done[key]), file=file)
    for table in (costs_table(done), paper_table(done)):
        print("\n" + "\n".join(table), flush=True)
    print(f"\n{time.monotonic() - begun:.0f} s")


def _measured(part: Part, bench: Bench) -> Found:
    """Return what a part found; that it broke is said in its line, and the others go on."""
    try:
        return part.measure(bench)
    except Exception as error:
        return {"why": f"{type(error).__name__}: {error}".splitlines()[0]}


def _kept(out: Path | None, where: dict[str, Any]) -> Iterator[tuple[str, Found]]:
    """Yield the parts that were measured here before."""
    if out is not None and out.exists():
        for text in out.read_text().splitlines():
            one = json.loads(text)
            if where.items() <= one.items():
                yield one["part"], one


if __name__ == "__main__":
    main()
