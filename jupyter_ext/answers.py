"""The table of an answer: a row for each stage, the largest effects first, and a group of columns for each behavior."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aadsl.core.texts import in_line, told
from jupyter_ext.html import NUMBER, PAPER, SORTED, escaped

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

ROWS = 40
"""Stages that are shown; of several behaviors, as text, so many lines, but never fewer than FEWEST stages."""
FEWEST = 5
REASONS = 6
NAME = 30
"""Letters of a name; its full length is shown where the mouse rests on it."""
MARKS = {"high": "●", "medium": "◐", "low": "○"}
_OWN_INTERVAL = re.compile(r"[+−]\S+ to [+−]\S+, ")
"""What a reason says of one number alone; a column has it."""
_SCROLLED = "overflow: auto; max-height: 36rem; max-width: 100%"
_HEAD = f"position: sticky; top: 0; z-index: 2; {PAPER}"
_STAGE = f"position: sticky; left: 0; z-index: 1; text-align: left; white-space: nowrap; {PAPER}"
_WORD = "text-align: left; white-space: nowrap"
_FIRST = "; border-left: 1px solid var(--jp-border-color2, currentColor)"


@dataclass(frozen=True)
class AnswerTable:
    """What is shown of an answer.

    Attributes:
        caption: what the numbers are and how they were computed.
        stages: the names of the rows, the largest effects first.
        names: what stands for each where there is little room, on one line.
        groups: for each behavior a title and its columns of texts, one row a stage.
        why: for each behavior the reason of the trust in each number.
        notes: what the marks mean, and each reason once.
    """

    caption: str
    stages: list[str]
    names: dict[str, str]
    groups: list[tuple[str, pd.DataFrame]]
    why: list[list[str]]
    notes: list[str]

    def text(self) -> str:
        """Return it as text, one block a behavior."""
        shown = max(FEWEST, ROWS // max(len(self.groups), 1))
        blocks = [self.caption]
        for title, columns in self.groups:
            named = columns.iloc[:shown].set_axis([self.names[name] for name in self.stages[:shown]], axis="index")
            blocks.append(f"{title}\n{named.to_string()}")
        below = "\n".join([*_left_out(len(self.stages), shown), *self.notes])
        return told("\n\n".join([*blocks, below])).rstrip()

    def html(self) -> str:
        """Return it as a table that scrolls in itself; names and header stay in sight."""
        over = "".join(f'<th colspan="{c.shape[1]}" style="{_WORD}{_FIRST}">{escaped(t)}</th>' for t, c in self.groups)
        under = "".join(
            f'<th style="{_style(name)}{"" if k else _FIRST}">{escaped(name)}</th>'
            for _, columns in self.groups
            for k, name in enumerate(map(str, columns))
        )
        body = "".join(self._row(s) for s in range(min(ROWS, len(self.stages))))
        head = f'<tr><th rowspan="2" style="{_STAGE}">stage</th>{over}</tr><tr>{under}</tr>'
        table = f'<table class="{SORTED}"><thead style="{_HEAD}">{head}</thead><tbody>{body}</tbody></table>'
        below = "<br>".join(map(escaped, [*_left_out(len(self.stages), ROWS), *self.notes]))
        notes = f'<p style="margin-top: 0.6em">{below}</p>' if below else ""
        return f'<p>{escaped(self.caption)}</p><div style="{_SCROLLED}">{table}</div>{notes}'

    def _row(self, s: int) -> str:
        name = self.stages[s]
        cells = [f'<th title="{escaped(in_line(name))}" style="{_STAGE}">{escaped(self.names[name])}</th>']
        for (_, columns), why in zip(self.groups, self.why, strict=True):
            for k, (column, value) in enumerate(columns.iloc[s].items()):
                reason = f' title="{escaped(why[s])}"' if column == "trust" else ""
                cells.append(f'<td{reason} style="{_style(str(column))}{"" if k else _FIRST}">{escaped(value)}</td>')
        return f"<tr>{''.join(cells)}</tr>"


def answer_html(dataset: xr.Dataset) -> str:
    """Return the table of an answer about stages as HTML."""
    return answer_shown(dataset).html()


def answer_text(dataset: xr.Dataset) -> str:
    """Return the table of an answer about stages as text."""
    return answer_shown(dataset).text()


def answer_shown(dataset: xr.Dataset) -> AnswerTable:
    """Return what is shown of an answer about stages."""
    from aadsl.charts.answers import answer_table, told_in_words
    from aadsl.charts.texts import labels
    from aadsl.charts.words import provenance, sentence
    from aadsl.statements.overlap import overlap_in_words

    frame = answer_table(dataset)
    size = frame["share" if "share" in frame else "best"].abs().fillna(0.0)
    size /= size.groupby(frame["behavior"]).transform("max").replace(0.0, 1.0)  # behaviors differ in their units
    order = size.groupby(frame["stage"], sort=False).max().sort_values(ascending=False, kind="stable").index
    stages = [str(name) for name in order]
    columns = told_in_words(frame, dataset)
    if frame["how"].nunique() == 1:  # the caption says it
        columns = columns.drop(columns="how")
    if "trust" in columns:
        columns["trust"] = columns["trust"].map(MARKS).fillna("")
    of = {str(name): rows.set_index("stage").index.get_indexer(order) for name, rows in frame.groupby("behavior")}
    behaviors = [str(name) for name in dataset["behavior"].to_numpy()]
    parts = [columns[(frame["behavior"] == name).to_numpy()].iloc[of[name]] for name in behaviors]
    reasons = frame["reason"] if "reason" in frame else frame["mark"]
    why = [reasons[(frame["behavior"] == name).to_numpy()].iloc[of[name]].tolist() for name in behaviors]
    meaning = "effect: the behavior as it is, minus what it would be without the stage"
    largest = "the largest effects first" if len(stages) > 1 else ""
    caption = sentence(meaning, provenance(dataset), largest)
    groups = [(_title(dataset, name), part) for name, part in zip(behaviors, parts, strict=True)]
    notes = [*_notes(frame), *filter(None, [overlap_in_words(dataset)])]
    names = {name: in_line(label) for name, label in labels(stages, NAME).items()}
    return AnswerTable(caption, stages, names, groups, why, notes)


def _title(dataset: xr.Dataset, name: str) -> str:
    from aadsl.charts.words import label, units
    from aadsl.core.numbers import plain

    if "observed" not in dataset:
        return label(dataset, name)
    value = float(dataset["observed"].sel(behavior=name))
    return f"{label(dataset, name)}, as it is {plain(value)} {units(dataset, name)}".rstrip()


def _notes(frame: pd.DataFrame) -> list[str]:
    """Say what the marks mean, and why trust is not high: each reason once, with how many numbers it is true of."""
    if "trust" not in frame:
        return []
    levels = [level for level in MARKS if (frame["trust"] == level).any()]
    notes = [f"trust: {', '.join(f'{MARKS[level]} {level}' for level in levels)}"] if levels else []
    if "reason" not in frame:
        return notes
    doubted = frame[frame["trust"].isin(["medium", "low"]) & (frame["reason"] != "")]
    said = zip(doubted["trust"], doubted["reason"], strict=True)
    counts = Counter((MARKS[level], _OWN_INTERVAL.sub("", reason)) for level, reason in said)
    for (mark, reason), count in counts.most_common(REASONS):
        notes.append(f"{mark} {count:,} of {len(frame):,}: {reason}")
    if len(counts) > REASONS:
        notes.append(f"and {len(counts) - REASONS} reasons more: result.frame")
    return notes


def _left_out(stages: int, shown: int) -> list[str]:
    more = stages - shown
    way = 'result.frame has all, and so has the page of save "report.html"'
    return [f"and {more:,} {'stage' if more == 1 else 'stages'} more with smaller effects; {way}"] if more > 0 else []


def _style(column: str) -> str:
    return _WORD if column in ("how", "the stage", "trust") else f"{NUMBER}; white-space: nowrap"
