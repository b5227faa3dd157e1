"""The paper's Tables 2 and 6: three jobs of training, on its data where they are at hand and on others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from tests.paper import celeba, comments, looks, texts, xrays
from tests.paper.agreement import AA_SCORE, DVEMB, TITLES, Agreement, compared
from tests.paper.keeping import Found, Part, spread, table
from tests.paper.runs import Development
from tests.paper.settings import NotAtHandError, Scale, Setting

METHODS = (DVEMB, AA_SCORE, "blocks", "linearized")
SETTINGS: dict[str, Setting] = {
    "CelebA": celeba.SETTING,
    "CivilComments": comments.SETTING,
    "X-rays": xrays.SETTING,
    "digits": looks.SETTING,
    "text": texts.FROM_SCRATCH,
    "text, pretrained": texts.PRETRAINED,
}
Measured = list[Found] | str
"""What was found with each seed; in words what is missing, where nothing was."""


def run(part: Part) -> None:
    """Measure everything and write the page."""
    part.write("Tables 2 and 6: three stages", [*lines(part)])


def lines(part: Part) -> Iterator[str]:
    """Yield the page."""
    scales = {name: one.scale.toy() if part.toy else one.scale for name, one in SETTINGS.items()}
    found = {name: measured(part, name, one, scales[name]) for name, one in SETTINGS.items()}
    yield from ABOUT.splitlines()
    rows = [row for name, one in SETTINGS.items() for row in overview(name, one, found[name])]
    yield from ("", *table(["Pearson's r", "stage 1", "stage 2", "stage 3"], rows))
    for name, one in SETTINGS.items():
        yield from ("", f"## {one.title}", "", one.said, "", in_words(scales[name]))
        yield from section(found[name])


def measured(part: Part, name: str, setting: Setting, scale: Scale) -> Measured:
    """Return what is found with each seed, or in words why nothing is."""

    def made(seed: int) -> Found:
        development: Development = setting.make(part.data, seed, scale)
        return compared(development, "restart", METHODS)

    try:
        return [part.measured(f"{name}, seed {seed}", partial(made, seed)) for seed in range(scale.seeds)]
    except NotAtHandError as error:
        missing = f"Missing: {error}. Needed: the extra `aadsl[paper]`, and in the folder {setting.needs}."
        print(f"{part.name}: {name} is left out. {missing}", flush=True)
        return missing


def overview(name: str, setting: Setting, found: Measured) -> Iterator[list[str]]:
    """Yield the setting's rows of Table 2, the paper's own first; ours are means over the test sets."""
    for method, values in setting.paper.items():
        yield [f"{name}: the paper's {method}", *(f"{value:.4f}" for value in values)]
    if isinstance(found, str):
        yield [f"{name}: here", *["not run"] * 3]
        return
    for method in METHODS:
        yield [f"{name}: {method}", *(spread(over_tests(found, method, s, "pearson")) for s in found[0]["exact"])]


def section(found: Measured) -> Iterator[str]:
    """Yield the tables of a setting: Table 6 for each method, then what its numbers leave out."""
    if isinstance(found, str):
        yield from ("", f"**Not run here: the data are not at hand.** {found}")
        return
    exact = found[0]["exact"]
    tests = [*next(iter(exact.values()))]
    rows = [
        [f"{method} on {test}", *(spread([one[method][s][test][0] for one in found]) for s in exact)]
        for method in METHODS
        for test in tests
    ]
    yield from ("", "Pearson's r on each test set:", "", *table(["", *exact], rows))
    for measure, title in TITLES.items():
        if measure != "pearson":
            rows = [[method, *(spread(over_tests(found, method, s, measure)) for s in exact)] for method in METHODS]
            yield from ("", f"{title}, mean over the test sets:", "", *table(["", *exact], rows))
    rows = [[f"on {test}", *(spread([one["exact"][s][test][0] for one in found]) for s in exact)] for test in tests]
    yield from ("", "Exact effects of the stages, means over test examples:", "", *table(["", *exact], rows))


def over_tests(found: list[Found], method: str, stage: str, measure: str) -> list[float]:
    """Return a measure of agreement for each seed, its mean over the test sets."""
    return [float(np.mean([getattr(Agreement(*v), measure) for v in one[method][stage].values()])) for one in found]


def in_words(scale: Scale) -> str:
    """Return what the scale says."""
    epochs = f"{scale.epochs} epochs" if scale.epochs > 1 else "one epoch"
    seeds = f"{scale.seeds} seeds" if scale.seeds > 1 else "one seed"
    return (
        f"{scale.examples:,} examples a stage in steps of {scale.batch}, {epochs}, learning rate {scale.rate:g};"
        f" {scale.tests} examples in each test set; {seeds}."
    )


ABOUT = """The paper's protocol: three jobs follow on each other, a stage each, momentum 0.9 and weight decay 1e-5. A
stage is left out, and the next begins with a fresh optimizer from where that one began (appendix E.1); estimates are
correlated with that over the examples of each test set. This table, laid out as its Table 2, has means over the test
sets; those of each, as its Table 6 has them, follow. Mean ± standard deviation over seeds (another start, other
examples).

Its own settings are run where their data are: `make paper PART=stages DATA=FOLDER` installs the extra `aadsl[paper]`,
which reads them, and looks into that folder. Digits and texts are no part of it: they are the same protocol, on smaller
networks and on data that come with this package and with Python, so their numbers are not to be set beside the
paper's."""
