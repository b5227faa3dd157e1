"""The way from estimates to exact numbers, as a statement that can be typed, with the time that it will take."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from aadsl.core.units import in_words
from aadsl.language.layout import LEXEMES
from aadsl.statements.session import Result
from aadsl.study.question import Question

if TYPE_CHECKING:
    import xarray as xr

EXACTLY = "using retraining()"
MARGIN = 1.25
"""How much longer a budget is than the time that was predicted."""


def way_to_exact(result: Result, dataset: xr.Dataset, asked: Question) -> str:
    """Return how to get the exact numbers of an answer about stages; nothing where there is nothing to better.

    That is where an estimate is of less than high trust.
    """
    if "exact" not in dataset or "trust" not in dataset:
        return ""
    doubtful = ~dataset["exact"] & (dataset["trust"] != "high")
    if not doubtful.any():
        return ""
    seconds = result.study.exact_seconds(asked.stages, asked.behaviors, intervention=asked.intervention)
    count, low = int(doubtful.sum()), int((doubtful & (dataset["trust"] == "low")).sum())
    trust = f"of low trust: {low}" if low < count else "of low trust"
    said = f"{count} of {doubtful.size} numbers {'is an estimate' if count == 1 else 'are estimates'}, {trust}"
    return f"{said}. Exactly, in about {in_words(seconds)}:\n  {with_clause(result.text, EXACTLY)}"


def way_to_confirmed(result: Result, steps: list[int], asked: Question) -> str:
    """Return how to confirm the effects of ``steps``, which are ranked and estimated, by exact answers."""
    branch, places = result.study.branch(), np.arange(result.study.trajectory.length)
    names = branch.family("step", {str(step): places == step for step in steps})
    seconds = branch.exact_seconds(names, asked.behaviors, intervention=asked.intervention)
    using = f'using auto(within="{ceil(MARGIN * seconds)} s")'
    return f"exactly, in about {in_words(seconds)}:\n  {with_clause(result.text, using)}"


def with_clause(statement: str, using: str) -> str:
    """Return a question on one line, with the clause ``using`` in the place of its own.

    >>> with_clause("score a,  # the first\\n  b on c under skip()", "using retraining()")
    'score a, b on c using retraining() under skip()'
    """
    kept, inside = list[str](), False
    for match in LEXEMES.finditer(statement):
        kind, lexeme = match.lastgroup, match.group()
        if lexeme == "using":
            inside = True
        elif lexeme == "under":
            inside = False
            kept.append(f"{using} ")
        if kind in ("space", "newline"):
            lexeme = " "
        doubled = lexeme == " " and kept and kept[-1].endswith(" ")
        if kind != "comment" and not inside and not doubled:
            kept.append(lexeme)
    text = "".join(kept).strip()
    return text if using in text else f"{text} {using}"
