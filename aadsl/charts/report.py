"""One page about one answer, to hand on: it needs no other file, no kernel and no internet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import words
from aadsl.charts.answers import answer_table, told_in_words
from aadsl.charts.brushing import brushable
from aadsl.charts.export import interactive, page, svg
from aadsl.charts.frame import behaviors
from aadsl.charts.needs import EFFECTS
from aadsl.charts.theme import specification
from aadsl.core.numbers import plain, signed
from aadsl.core.texts import told, visible

EXAMPLES = 20
"""Training examples that are listed of those that helped, and of those that hurt."""
REASONS = 12
"""Reasons of low trust that are listed; the table has the trust of every number."""
_NUMBER = re.compile(r"[+−-]?[0-9.,]+(e[+−-]?[0-9]+)?")
STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff; margin: 2.5rem auto; max-width: 56rem;
  padding: 0 1.2rem; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
pre { background: #f6f6f4; border-left: 3px solid #0072b2; padding: .8rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .84rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .28rem .9rem .28rem 0; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top;
  max-width: 24rem; overflow-wrap: break-word; }
th { position: sticky; top: 0; background: #fff; } td.number { text-align: right; white-space: nowrap; }
.scroll { max-height: 34rem; overflow: auto; margin: .8rem 0; }
.words td.number { text-align: left; } .words .scroll { max-height: none; }
.chart { overflow-x: auto; margin: .8rem 0; }
.warning { border-left: 3px solid #d55e00; padding-left: 1rem; }
"""


@dataclass(frozen=True)
class AnswerPage:
    """What a page tells of an answer.

    Attributes:
        answer: over (stage or step, behavior), with its attributes.
        program: how it was asked, in the language; empty where it was asked otherwise.
        stages, behaviors: header and rows that say what these names mean.
        charts: what was drawn of it.
        trust: the rule of trust, in words.
        run: what is known of the run and its making.
    """

    answer: xr.Dataset
    program: str
    stages: Sequence[Sequence[str]]
    behaviors: Sequence[Sequence[str]]
    charts: Sequence[Any]
    trust: str
    run: Mapping[str, str]

    @property
    def title(self) -> str:
        """What the page is about."""
        on = words.quoted(behaviors(self.answer))
        if "stage" not in self.answer.dims:
            return f"What single training steps did to {on}"
        count = self.answer.sizes["stage"]
        stages = words.quoted([str(name) for name in self.answer["stage"].values])
        if "example_estimate" in self.answer:
            return f"What single training examples of {stages} did to {on}"
        if "share" in self.answer:
            return f"Which share of {on} came from {stages}"
        return f"What {'stage' if count == 1 else 'stages'} {stages} of the training did to {on}"

    def html(self) -> str:
        """Return the page."""
        parts = [f"<h1>{_text(self.title)}</h1>", *self._doubts()]
        parts += ["<h2>The question</h2>", *([_code(self.program)] if self.program else [])]
        question = str(self.answer.attrs.get("question", ""))
        parts += [_paragraph(f"{question[:1].upper()}{question[1:]}")] if question else []
        parts += [_table(*rows) for rows in (self.stages, self.behaviors) if len(rows) > 1]
        parts += ["<h2>The answer</h2>", *self._tables()]
        parts += [interactive(spec, svg(spec)) for spec in map(specification, self.charts)]
        if "step_effect" in self.answer and bool(self.answer["step_effect"].notnull().any()):
            spec = specification(brushable(self.answer))
            parts += ["<h2>Step by step</h2>", interactive(spec, svg(spec))]
        parts += ["<h2>How far it can be trusted</h2>", *self._trust()]
        parts += ["<h2>How it was computed</h2>", *self._computed()]
        parts += ["<h2>The run</h2>", f'<div class="words">{_table(("", ""), *self.run.items())}</div>']
        return page(visible(self.title), "\n".join(parts), STYLE)

    def _doubts(self) -> list[str]:
        notes = (self.answer.attrs.get(name) for name in ("unverified", "given_weights"))
        said = [f"Note: {note}" for note in notes if note]
        return [_paragraph(one, "warning") for one in said]

    def _tables(self) -> list[str]:
        if "example_estimate" in self.answer:
            convention = words.meaning(self.answer, "positive: the example {good}; negative: it {bad}")
            meaning = "effect: the behavior as it is, minus what it would be without the example in the stage's batches"
            return [_frame(examples_table(self.answer)), _paragraph(words.sentence(f"{meaning}; {convention}"))]
        convention = words.meaning(self.answer, "positive: the stage or step {good}; negative: it {bad}")
        meaning = f"effect: the behavior as it is, minus what it would be without the stage or step; {convention}"
        tables = [_frame(ranking_table(self.answer))] if "ranked" in self.answer else []
        if EFFECTS.met_by(map(str, self.answer.variables)):
            tables.append(_frame(effects_table(self.answer)))
        return [*tables, _paragraph(words.sentence(meaning))]

    def _trust(self) -> list[str]:
        said = [_code(self.trust)]
        if "trust" not in self.answer or "stage" not in self.answer.dims:
            return said
        levels = pd.Series(self.answer["trust"].values.ravel().astype(str)).value_counts()
        counts = ", ".join(f"{levels[level]} {level}" for level in ("high", "medium", "low") if level in levels)
        said.insert(0, _paragraph(f"Trust of the {levels.sum()} numbers above: {counts}."))
        if "trust_reason" in self.answer:
            low = self.answer["trust_reason"].values[self.answer["trust"].values == "low"]
            reasons = list(dict.fromkeys(low.astype(str).tolist()))
            said += _items(reasons[:REASONS], len(reasons) - REASONS, "Why it is low")
        hint = str(self.answer.attrs.get("way_to_exact", ""))
        said += [_code(hint)] if hint else []
        return said

    def _computed(self) -> list[str]:
        attributes = self.answer.attrs
        source = words.sentence(words.provenance(self.answer))
        plans = (str(attributes[name]) for name in ("plan", "exact_plan") if attributes.get(name))
        return [*([_paragraph(source)] if source else []), *map(_code, plans)]


def effects_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return the rows of an answer about stages as a page shows them, texts and numbers in words."""
    table = answer_table(dataset)
    shown = told_in_words(table, dataset)
    units = [words.units(dataset, name) for name in table["behavior"]]
    if any(units):
        shown.insert(0, "unit", units)
    if "observed" in dataset:
        shown.insert(0, "as it is", [plain(value) for value in dataset["observed"].to_series()[table["behavior"]]])
    shown.insert(0, "behavior", table["behavior"])
    shown.insert(0, "stage", table["stage"])
    return shown


def ranking_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return the rows of an answer that ranks steps or stages, the largest effects first."""
    rows = []
    for name in behaviors(dataset):
        one = dataset.sel(behavior=name)
        columns = (one[c].values for c in ("rank", "ranked", "ranked_effect", "ranked_exact", "ranked_trust"))
        for rank, label, effect, exact, trust in zip(*columns, strict=True):
            how = "exact" if exact else "estimate"
            rows.append((name, str(rank), str(label), signed(float(effect), 4), how, str(trust)))
    ranked = "stage" if "stage" in dataset.dims else "step"
    return pd.DataFrame(rows, columns=["behavior", "rank", ranked, "effect", "how", "trust"])


def examples_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return the training examples with the largest effects of either sign, in order, for each stage and behavior."""
    best = dataset["example_exact"].fillna(dataset["example_estimate"]).transpose("stage", "behavior", ...)
    rows = []
    for stage, behavior in product(best["stage"].values, best["behavior"].values):
        known = best.sel(stage=stage, behavior=behavior).dropna("training_example")
        order = known.sortby(known, ascending=False)
        ends = order if order.size <= 2 * EXAMPLES else xr.concat([order[:EXAMPLES], order[-EXAMPLES:]], order.dims[0])
        for number in ends["training_example"].values:
            exact = np.isfinite(dataset["example_exact"].sel(stage=stage, behavior=behavior, training_example=number))
            effect = signed(float(ends.sel(training_example=number)), 4)
            rows.append((str(stage), str(behavior), str(number), effect, "exact" if exact else "estimate"))
    return pd.DataFrame(rows, columns=["stage", "behavior", "example", "effect", "how"])


def _frame(frame: pd.DataFrame) -> str:
    return _table(list(map(str, frame.columns)), *frame.fillna("").to_numpy().tolist())


def _table(header: Iterable[str], *rows: Iterable[str]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    kind = ' class="number"' if _NUMBER.fullmatch(text) else ""
    return f"<td{kind}>{_text(told(text))}</td>"


def _items(items: Sequence[str], more: int, title: str) -> list[str]:
    if not items:
        return []
    listed = "".join(f"<li>{_text(item)}</li>" for item in items)
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    return [_paragraph(f"{title}:"), f"<ul>{listed}{rest}</ul>"]


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"


def _code(text: str) -> str:
    return f"<pre>{_text(text)}</pre>"


def _text(text: str) -> str:
    """Return text for a page: escaped, and what no font shows as a picture of it."""
    return escape(visible(text))
