"""How studies and behaviors look at the end of a cell: what they hold, as text and as HTML."""

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


def study_text(study: Any, printer: Any, cycle: bool) -> None:
    """Print a study, as IPython's formatters do it."""
    title, stages, behaviors = study_parts(study)
    lines = [title, *(f"  stage {name}: {steps:,} steps" for name, steps in stages)]
    lines += [f"  behavior {name}: {metric} on {n:,} examples" for name, metric, n, _ in behaviors]
    printer.text("\n".join(lines if len(lines) > 1 else [*lines, "  no stage or behavior is defined yet"]))


def study_html(study: Any) -> str:
    """Return a study as tables."""
    title, stages, behaviors = study_parts(study)
    parts = [table(["stage", "steps"], stages, title)]
    return "".join([*parts, table(["behavior", "metric", "examples", "unit"], behaviors)])


def behavior_text(behavior: Any, printer: Any, cycle: bool) -> None:
    """Print a behavior, as IPython's formatters do it."""
    name, metric, examples, unit = behavior_parts(behavior)
    printer.text(f"behavior {name}: {metric} on {examples:,} examples" + (f", in {unit}" if unit else ""))


def behavior_html(behavior: Any) -> str:
    """Return a behavior as a table of one row."""
    return table(["behavior", "metric", "examples", "unit"], [behavior_parts(behavior)])
