"""How studies and behaviors look at the end of a cell: what they hold, as HTML."""

from __future__ import annotations

from typing import Any

from jupyter_ext.html import table

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
