"""How studies and behaviors look at the end of a cell: what they hold, as HTML."""

from __future__ import annotations

from typing import Any

from jupyter_ext.html import NUMBER, SORTED, escaped, table

SHOWN = 30


def study_parts(study: Any) -> tuple[str, list[list[Any]], list[list[Any]]]:
    """Return what is studied, its stages (name, steps) and its behaviors (name, what, examples, unit)."""
    trajectory = study.trajectory
    title = f"Study of {trajectory.path}: {trajectory.length:,} steps of {trajectory.optimizer}"
    stages = [[name, int(member.sum())] for name, member in list(study.stages.items())[:SHOWN]]
    behaviors = [behavior_parts(behavior) for behavior in list(study.behaviors.values())[:SHOWN]]
    return title, stages, behaviors


def behavior_parts(behavior: Any) -> list[Any]:
    """Return name, metric, number of examples and unit of a behavior."""
    from aadsl.behaviors import metric_text

    return [behavior.name, metric_text(behavior.metric), len(behavior.examples), behavior.unit]


def study_html(study: Any) -> str:
    """Return a study as tables."""
    title, stages, behaviors = study_parts(study)
    parts = [table(["stage", "steps"], stages, title)]
    return "".join([*parts, table(["behavior", "metric", "examples", "unit"], behaviors)])


def behavior_html(behavior: Any) -> str:
    """Return a behavior as a table of one row."""
    return table(["behavior", "metric", "examples", "unit"], [behavior_parts(behavior)])


def frame_html(frame: Any) -> str | None:
    """Return a table of pandas as that shows it; of an answer it can be sorted, unless pandas leaves rows out."""
    import pandas as pd

    from aadsl.statements.frames import ANSWER

    own = frame._repr_html_()
    most = pd.get_option("display.max_rows")
    if own is None or ANSWER not in frame.attrs or (most and len(frame) > most):
        return None if own is None else str(own)
    return str(frame.to_html(classes=SORTED, na_rep="", notebook=True))


def examples_html(listing: Any) -> str:
    """Return the training examples that did most as tables, with a small picture of each, or its text."""
    parts = [f"<p><b>{escaped(title)}</b></p>{_examples(rows)}" for title, rows in listing.blocks]
    remarks = listing.rsplit("\n\n", 1)[-1]
    return "".join([*parts, f"<p>{escaped(remarks)}</p>"])


def _examples(rows: list[Any]) -> str:
    said = any(row.how for row in rows)
    cells = [
        [
            f'<td style="text-align: left">{_look(row.look)}</td>',
            *(f'<td style="text-align: left">{escaped(text)}</td>' for text in (row.number, row.label)),
            f'<td style="{NUMBER}">{escaped(row.value)}</td>',
            *(f'<td style="text-align: left">{escaped(text)}</td>' for text in _rest(row, said)),
        ]
        for row in rows
    ]
    head = "".join(
        f'<th style="text-align: left">{name}</th>'
        for name in ("", "example", "label", *(("effect", "how") if said else ("own loss",)), "came")
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _rest(row: Any, said: bool) -> list[str]:
    return [*([row.how] if said else []), f"{row.times} ×"]


def _look(look: dict[str, str]) -> str:
    if "picture" in look:
        small = 'width="36" height="36" style="image-rendering: pixelated" alt=""'
        return f'<img src="{escaped(look["picture"])}" {small}>'
    return escaped(look.get("text", ""))
