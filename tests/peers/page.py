"""The page that ``make peers`` writes: figures, and in words where a peer is better."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.benchmarks.report import stamp
from tests.peers.environments import version
from tests.peers.found import Answers
from tests.peers.method import Method

Methods = Mapping[str, Mapping[str, Method]]
TRUTHS = {"skip": "zero_gradient", "zero_gradient": "skip"}
EXACT = "retraining"


def page(answers: Answers, methods: Methods) -> str:
    """Return the whole page, Markdown."""
    parts = [HEAD, machine(answers), *glance(answers, methods), *asked(methods)]
    for task, behavior in answers.behaviors:
        parts += closeness(answers, methods, task, behavior)
    parts += [*costs(answers, methods), *better(answers, methods), *silent(answers)]
    return "\n".join(parts).rstrip() + "\n"


HEAD = """# Peers on the same runs

`make peers` writes this page. Every method scores single steps of the runs of `tests/benchmarks/fidelity.py`: each
library in an environment of its own, with pinned versions, each method in a process of its own. Scores of training
examples are added up over the batch of each step, and compared with what plain PyTorch loops find when they train
again: with the step skipped (`skip`), or taken with a gradient of zeros, which leaves out its data and keeps momentum
and decay (`zero_gradient`). Each method is held to the truth that it claims; the other one stands beside it.
"""


def machine(answers: Answers) -> str:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    first, *more = map(str, answers.seeds)
    seeds = f"medians of the seeds {', '.join([first, *more])}" if more else f"seed {first}"
    asked = [f"peers asked on {answers.days}"] if answers.days else []
    return "; ".join([stamp().rstrip("."), *models[:1], *asked, f"{seeds}."])


def each(methods: Methods) -> Iterator[tuple[str, str, Method]]:
    """Yield the peer, the name and the method of each row."""
    for peer, table in methods.items():
        for name, method in table.items():
            yield peer, name, method


def called(peer: str, name: str) -> str:
    return f"{version(peer).split()[0]} {name}"


def glance(answers: Answers, methods: Methods) -> list[str]:
    """Return the short table: correlation and error on each task's first behavior, and cost."""
    first = dict(reversed(answers.behaviors))
    lines = [
        "",
        "## At a glance",
        "",
        "Pearson / relative error on held-out digits, against the truth that each claims.",
        "",
    ]
    lines += row(["method", "claims", *answers.tasks, "cost", "lines of code"], head=True)
    for peer, name, method in each(methods):
        cells = []
        for task in answers.tasks:
            found = answers.fidelity(task, peer, name, first.get(task, ""), method.truth)
            error = "–" if found is None or not method.nats else percent(found.error)
            cells.append("–" if found is None else f"{found.pearson:.3f} / {error}")
        costs = [cost for task in answers.tasks if (cost := answers.cost(task, peer, name)) is not None]
        span = "–" if not costs else " to ".join(dict.fromkeys(f"{c:.1f}" for c in (min(costs), max(costs)))) + " ×"
        lines += row([called(peer, name), method.truth, *cells, span, str(method.lines)])
    return lines


def asked(methods: Methods) -> list[str]:
    lines = [
        "",
        "## What was asked",
        "",
        "Lines of code are those that a user writes, the training loop included where a",
    ]
    lines += ["method needs one of its own. `–` stands for the error of scores that have no unit.", ""]
    lines += row(["method", "version", "how"], head=True)
    for peer, name, method in each(methods):
        lines += row([called(peer, name), version(peer).split()[-1], method.how])
    return lines


ASKED = """Lines of code are those that a user writes, the training loop included where a method needs one of its own.
`–` stands for the error of scores that have no unit. Methods made for plain SGD are given the learning rate of the run,
as their documentation says: momentum 0.9 makes their slope about a tenth, and AdamW takes the meaning from it, while
their correlations keep theirs."""


def closeness(answers: Answers, methods: Methods, task: str, behavior: str) -> list[str]:
    lines = ["", f"## {task}, {behavior}", ""]
    heads = ["Pearson", "Spearman", "slope", "relative error", "the other truth: Pearson", "relative error"]
    lines += row(["method", "claims", *heads], head=True)
    for peer, name, method in each(methods):
        own = answers.fidelity(task, peer, name, behavior, method.truth)
        other = answers.fidelity(task, peer, name, behavior, TRUTHS[method.truth])
        if own is None or other is None:
            cells = ["–"] * len(heads)
        else:
            slope, errors = f"{own.slope:.2f}", [percent(one.error) for one in (own, other)]
            if not method.nats:
                slope, errors = "–", ["–", "–"]
            cells = [f"{own.pearson:.3f}", f"{own.spearman:.3f}", slope, errors[0], f"{other.pearson:.3f}", errors[1]]
        lines += row([called(peer, name), method.truth, *cells])
    return lines


def costs(answers: Answers, methods: Methods) -> list[str]:
    lines = [
        "",
        "## Cost",
        "",
        "CPU time from nothing to scores, training included, as a ratio to plain training in the same",
    ]
    lines += ["process; what the peak of memory has beyond that of plain training. What takes less than two seconds"]
    lines += ["is run twice, and the second run counts.", ""]
    lines += row(["method", *answers.tasks], head=True)
    for peer, name, _ in each(methods):
        cells = []
        for task in answers.tasks:
            cost, memory = answers.cost(task, peer, name), answers.memory(task, peer, name)
            cells.append("–" if cost is None or memory is None else f"{cost:.1f} ×, {memory / 2**20:.0f} MiB")
        lines += row([called(peer, name), *cells])
    return lines


def better(answers: Answers, methods: Methods) -> list[str]:
    """Return in words where a peer is closer than all our estimates of the same truth, or cheaper, or shorter."""
    lines = ["", "## Where a peer is better", "", "Beside our estimates, not beside `retraining`, which is exact.", ""]
    estimates = {name: method for name, method in methods.get("own", {}).items() if name != EXACT}
    for peer, name, method in each(methods):
        if peer != "own":
            said = [*closer(answers, estimates, peer, name, method), *cheaper(answers, estimates, peer, name, method)]
            lines += [f"* **{called(peer, name)}**: {'; '.join(said)}."] if said else []
    if lines[-1] == "":
        lines.append("* Nowhere in these figures.")
    return [*lines, "", BESIDES]


def closer(answers: Answers, estimates: Mapping[str, Method], peer: str, name: str, method: Method) -> Iterator[str]:
    for task, behavior in answers.behaviors:
        theirs = answers.fidelity(task, peer, name, behavior, method.truth)
        same = [own for own, ours in estimates.items() if ours.truth == method.truth]
        ours = [f for own in same if (f := answers.fidelity(task, "own", own, behavior, method.truth))]
        if theirs is None or not ours:
            continue
        for what in ("pearson", "spearman"):
            their, best = round(getattr(theirs, what), 3), round(max(getattr(one, what) for one in ours), 3)
            if their > best:
                yield f"{what.capitalize()} {their:.3f} against {best:.3f} on {task}, {behavior}"
        their, best = round(theirs.error, 3), round(min(one.error for one in ours), 3)
        if method.nats and their < best:
            yield f"an error of {percent(their)} against {percent(best)} on {task}, {behavior}"


def cheaper(answers: Answers, estimates: Mapping[str, Method], peer: str, name: str, method: Method) -> Iterator[str]:
    for task in answers.tasks:
        for what, unit, scale in (("cost", "×", 1.0), ("memory", "MiB of memory", 2.0**20)):
            theirs = getattr(answers, what)(task, peer, name)
            ours = [value for own in estimates if (value := getattr(answers, what)(task, "own", own)) is not None]
            if theirs is not None and ours and theirs < min(ours):
                yield f"{theirs / scale:.1f} {unit} against {min(ours) / scale:.1f} on {task}"
    ours = [one.lines for one in estimates.values()]
    if ours and method.lines < min(ours):
        yield f"{method.lines} lines of code against {min(ours)}"


BESIDES = """Not measured here: what reads checkpoints needs no recording of the training; most of these libraries are
made to score single training examples, and these figures add their scores up; bergson, dattri-llm and kronfluence run
on many GPUs; bergson says beforehand where differentiating through the training is not to be trusted
(`bergson metasmoothness`), and validates by leaving out subsets."""


def silent(answers: Answers) -> list[str]:
    """Return who gave no answer, and why."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for answer in answers.all:
        if answer.reason:
            where = f"{answer.task}, seed {answer.seed}"
            reasons.setdefault((answer.peer, answer.method, answer.reason), []).append(where)
    if not reasons:
        return []
    said = [f"* {called(peer, name)} ({'; '.join(where)}): {reason}" for (peer, name, reason), where in reasons.items()]
    return ["", "## No answer", "", *said]


def percent(share: float) -> str:
    return f"{share:.1%}" if share < 1 else f"{share:,.0%}"


def row(cells: list[str], head: bool = False) -> list[str]:
    line = f"| {' | '.join(cells)} |"
    return [line, f"| {' | '.join(['---'] * len(cells))} |"] if head else [line]
