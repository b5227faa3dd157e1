"""The training examples that did most, as text, and as rows with what each looks like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aadsl.core.errors import AadslError
from aadsl.core.numbers import signed
from aadsl.core.progress import Progress
from aadsl.core.scalars import written
from aadsl.core.texts import in_line, told
from aadsl.statements.looks import look_of
from aadsl.statements.studied import Studied

if TYPE_CHECKING:
    import xarray as xr

TEXT = 60
"""Letters of a text that a line shows."""
NO_ESTIMATE = (
    "every estimate is zero: the optimizer takes the sign of the gradient, which one example does not turn to first "
    "order; allow time for exact effects: with within=…"
)


@dataclass(frozen=True)
class ListedExample:
    """One line.

    Attributes:
        number: what the example is called.
        label: its target; empty where it has none that is one value.
        value: what is listed, with its sign, and ``how`` it is known.
        times: how often the stage consumed it.
        look: a ``picture`` as a data URI, or a ``text``; neither where it is neither.
    """

    number: str
    label: str
    value: str
    how: str
    times: int
    look: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The same as text."""
        label = f"label {self.label}" if self.label else ""
        times = f"{self.times} times" if self.times > 1 else ""
        return "  ".join(filter(None, [self.value, self.how, label, times, _shortened(self.look.get("text", ""))]))


class ExampleListing(str):
    """The examples of an answer that did most, as text; ``blocks`` are the same as titles with rows."""

    __slots__ = ("blocks",)
    blocks: list[tuple[str, list[ListedExample]]]

    def __repr__(self) -> str:
        return str(self)


def listed(dataset: xr.Dataset, top: int, study: Studied, progress: Progress | None) -> ExampleListing:
    """Return the ``top`` examples of each stage that helped each behavior most, that hurt it, and by self-influence."""
    looks = _Looks(dataset, study, progress)
    blocks: list[tuple[str, list[ListedExample]]] = []
    for stage in dataset["stage"].values:
        of_stage = dataset.sel(stage=stage)
        for behavior in dataset["behavior"].values:
            one = of_stage.sel(behavior=behavior)
            good = 1 if bool(one["higher_is_better"]) else -1
            effects = np.nan_to_num(good * best_effects(one))
            for said, sign in (("helped", 1), ("hurt", -1)):
                order = np.argsort(-sign * effects, kind="stable")[:top]
                rows = [looks.listed(one, int(i)) for i in order if sign * effects[i] > 0]
                if rows:
                    blocks.append((f"examples of {stage} that {said} {behavior} most", rows))
        if "self_influence" in dataset:
            own = np.nan_to_num(of_stage["self_influence"].values, nan=-np.inf)
            order = np.argsort(-own, kind="stable")[:top]
            rows = [looks.listed(of_stage, int(i), own[i]) for i in order if np.isfinite(own[i])]
            blocks.append((f"examples of {stage} that lowered their own loss most; mislabeled ones come first", rows))
    blocks = [(told(title), rows) for title, rows in blocks]
    texts = ["\n".join([f"{title}:", *_lines(rows)]) for title, rows in blocks]
    found = ExampleListing(told("\n\n".join([*texts, *_remarks(dataset)])))
    found.blocks = blocks
    return found


def best_effects(one: xr.Dataset) -> Any:
    """Return the effects of examples, exact ones where they are known, of a stage and a behavior or of several."""
    return one["example_exact"].fillna(one["example_estimate"]).values


class _Looks:
    """What examples of an answer look like; each is fetched once."""

    def __init__(self, dataset: xr.Dataset, study: Studied, progress: Progress | None) -> None:
        from aadsl.data.examples import TARGETS  # late: a program is read without torch

        self._numbers = dataset["training_example"].values
        self._places = list(zip(dataset["first_step"].values, dataset["first_row"].values, strict=True))
        self._target = next((dataset[name].values for name in TARGETS if name in dataset.coords), None)
        self._study, self._progress = study, progress
        self._known: dict[int, dict[str, str]] = {}

    def listed(self, one: xr.Dataset, i: int, own: float | None = None) -> ListedExample:
        """Return one line: the effect of example ``i`` on the one behavior of ``one``, or its ``own`` effect."""
        label = "" if self._target is None or np.ndim(self._target[i]) else in_line(written(self._target[i]), TEXT)
        value, how = own, ""
        if value is None:
            exact = bool(np.isfinite(one["example_exact"].values[i]))
            value, how = float(best_effects(one)[i]), "exact" if exact else "estimate, low trust"
        return ListedExample(
            str(self._numbers[i]), label, signed(value, 4), how, int(one["occurrences"].values[i]), self._look(i)
        )

    def _look(self, i: int) -> dict[str, str]:
        if i not in self._known:
            step, row = self._places[i]
            try:
                example = self._study.training_input(int(step), int(row), progress=self._progress)
                self._known[i] = look_of(example)
            except AadslError:  # what cannot be looked up is told by its number
                self._known[i] = {}
        return self._known[i]


def _lines(rows: Sequence[ListedExample]) -> Iterator[str]:
    width = max(len(row.number) for row in rows)
    for rank, row in enumerate(rows, 1):
        yield f"{rank:>4}  example {row.number:<{width}}  {row.line}"


def _remarks(dataset: xr.Dataset) -> list[str]:
    """Say how far estimates were off where examples were trained without, and what to do where none was."""
    estimate, exact = dataset["example_estimate"].values, dataset["example_exact"].values
    known = np.isfinite(exact)
    if not np.nan_to_num(estimate).any():
        return [NO_ESTIMATE]
    if not known.any():
        return ["none of them was confirmed by training without it: allow more time, with within=…"]
    size = np.abs(exact[known]).sum()
    off = f"; there estimates are off by {np.abs(estimate[known] - exact[known]).sum() / size:.0%}" if size else ""
    count, of = int(known.any(axis=(0, 1)).sum()), dataset.sizes["training_example"]
    return [f"trained without it: {count:,} of {of:,} examples{off}"]


def _shortened(text: str) -> str:
    return in_line(" ".join(text.split()), TEXT)
