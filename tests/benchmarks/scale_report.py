"""Tables and charts of what :mod:`tests.benchmarks.scale` measured: sections of scale.md, and pictures beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from aadsl.charts import theme
from aadsl.charts.bundle import small_png
from aadsl.charts.frame import table_chart
from tests.benchmarks.report import write_section
from tests.benchmarks.scale_points import ACTIVITIES, Found

TITLE = "How time, states and memory grow with steps and with parameters"
ABOUT = {
    "steps": "An MLP of 10⁴ parameters, batches of 32, SGD with momentum. Processor time, all threads together, as a "
    "ratio to plain training; memory at the peak, beyond what the process held before; each in a process of its own. "
    "A sweep gives the effects of all steps on one behavior, the first exact answer compares the whole recording, "
    "blocks answer eight windows.",
    "parameters": "MLPs 784–h–10, batches of 32, SGD with momentum, a state at every 8th step. Of two runs, one of 8 "
    "steps and a longer one, what the steps take that the longer one has more, and the memory of the longer one; of a "
    "run alone, all that it took. Of up to three tries that which took the least time. The rest as above.",
}
FROM = {"steps": 1000, "parameters": 1_000_000}
"""Exponents are fitted from here on: below, what every call and every step costs anyway is most of it."""
GROWS = {"steps": "steps T", "parameters": "parameters P"}


class Law(NamedTuple):
    """How something is to grow: ``what`` of an activity, with which exponent."""

    what: str
    activity: str
    exponent: float


TIMED = ("plain", "recorded", "sweep", "first exact", "further exact")
LAWS = {
    "steps": (
        *(Law("processor time", activity, 1) for activity in TIMED),
        Law("states", "recorded", 0.5),
        Law("memory", "sweep", 0.5),
        *(Law("memory", activity, 0) for activity in ("recorded", "sweep within 8 MB", "further exact")),
    ),
    "parameters": (
        *(Law("time of a step", activity, 1) for activity in TIMED),
        Law("bytes of a state", "recorded", 1),
        *(Law("memory", activity, 1) for activity in TIMED),
    ),
}
READ = {
    "processor time": lambda one: one.cpu,
    "time of a step": lambda one: 1e3 * one.cpu / one.steps,
    "states": lambda one: one.states,
    "bytes of a state": lambda one: one.state_bytes,
    "memory": lambda one: one.memory,
}


def further_steps(found: Sequence[Found]) -> list[Found]:
    """Return the points with, of two runs of one network, what the steps take that the longer one has more.

    So what is paid once, whatever the length, counts no more than it does in a long run.
    """
    pairs: dict[tuple[int, str], list[Found]] = {}
    for one in found:
        if one.axis == "parameters":
            pairs.setdefault((one.parameters, one.activity), []).append(one)
    merged = [one for one in found if one.axis != "parameters"]
    for own in pairs.values():
        short, long = min(own, key=lambda one: one.steps), max(own, key=lambda one: one.steps)
        if long.steps == short.steps:
            merged.append(long)
        elif long.cpu > short.cpu:  # else the machine was busy with something else, which says nothing
            merged.append(long._replace(steps=long.steps - short.steps, cpu=long.cpu - short.cpu))
    return merged


def size_of(one: Found) -> int:
    """Return what of a point grows on its axis."""
    return one.steps if one.axis == "steps" else one.parameters


def exponent(found: Sequence[Found], axis: str, law: Law) -> float:
    """Return the slope of log y over log x, by least squares; NaN of fewer than two points."""
    own = [one for one in found if one.axis == axis and one.activity == law.activity]
    largest = [one for one in own if size_of(one) >= FROM[axis] and READ[law.what](one) > 0]
    own = largest if len(largest) > 1 else own  # of a toy all
    values = [(size_of(one), READ[law.what](one)) for one in own]
    if len(values) < 2:
        return float("nan")
    x, y = np.log(np.maximum(np.array(values, dtype=float), 1.0e-9)).T
    return float(np.polyfit(x, y, 1)[0])


def exponents(found: Sequence[Found]) -> Iterable[str]:
    yield "| grows with | | | expected | fitted |\n| --- | --- | --- | ---: | ---: |"
    for axis, laws in LAWS.items():
        for law in laws:
            fitted = exponent(found, axis, law)
            if np.isfinite(fitted):
                yield f"| {GROWS[axis]} | {law.what} | {law.activity} | {law.exponent:g} | {fitted:.2f} |"


def table(found: Sequence[Found], axis: str) -> Iterable[str]:
    """Yield the lines of one axis: a row for each of its sizes."""
    own = {(size_of(one), one.activity): one for one in found if one.axis == axis}
    shown = [activity for activity in ACTIVITIES if any(key[1] == activity for key in own)]
    yield f"| {axis} | {' | '.join(shown)} | states | a state | disk |\n| ---: {'| ---: ' * (len(shown) + 3)}|"
    for size in sorted({size for size, _ in own}):
        plain, recorded = own.get((size, "plain")), own.get((size, "recorded"))
        cells = [_cell(own.get((size, activity)), plain) for activity in shown]
        files = (
            (f"{recorded.states:,}", megabytes(recorded.state_bytes), megabytes(recorded.disk)) if recorded else "–––"
        )
        cells += files
        yield f"| {size:,} | {' | '.join(cells)} |"


def _cell(one: Found | None, plain: Found | None) -> str:
    if one is None or plain is None:
        return "–"
    time = f"{1e3 * one.cpu / one.steps:.3g} ms a step" if one.activity == "plain" else f"{one.cpu / plain.cpu:.2f} ×"
    return f"{time}, {megabytes(one.memory)}"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e8 else f"{size / 1e6:.3g} MB"


def measured(found: Sequence[Found]) -> str:
    """Return when and on what these points were measured: one line, the loads from the least to the most."""
    machines, loads = {}, []
    for one in found:
        machine, load = re.fullmatch(r"(.*); load ([\d.]+)\.", one.measured).groups()  # type: ignore[union-attr]
        machines[machine] = None
        loads.append(float(load))
    return f"{' and '.join(machines)}; load {min(loads)} to {max(loads)}."


class Panel(NamedTuple):
    """One picture: what is drawn of which activities, and a line of this slope through its first point."""

    title: str
    what: str
    activities: tuple[str, ...]
    slope: float


PANELS = {
    "steps": (
        Panel("seconds of the processor", "processor time", ACTIVITIES[:6], 1),
        Panel("states kept", "states", ("recorded",), 0.5),
        Panel("memory, MB", "memory", ACTIVITIES[1:6], 0),
    ),
    "parameters": (
        Panel("ms of the processor, a step", "time of a step", (*TIMED, "blocks"), 1),
        Panel("MB of a state", "bytes of a state", ("recorded",), 1),
        Panel("memory, MB", "memory", (*TIMED, "blocks"), 1),
    ),
}
COLORS = dict(zip(ACTIVITIES, (theme.NEITHER, *theme.STAGES), strict=True))


def chart(found: Sequence[Found], axis: str) -> Any:
    """Draw how time, states and memory grow on one axis, both scales logarithmic."""
    own = [one for one in found if one.axis == axis]
    panels = [_panel([one for one in own if one.activity in panel.activities], axis, panel) for panel in PANELS[axis]]
    slopes = ", ".join(f"{panel.slope:g}" for panel in PANELS[axis])
    lines = f"Both axes are logarithmic; the dashed lines have the slopes {slopes}."
    title = alt.Title(f"What grows with the number of {axis}", subtitle=[lines, measured(own)])
    drawn = alt.hconcat(*panels, spacing=18).properties(title=title, usermeta=theme.OURS)
    return drawn.properties(description=f"Time, states and memory over the number of {axis}. {lines}")


def _panel(found: Sequence[Found], axis: str, panel: Panel) -> Any:
    unit = 1e-6 if "MB" in panel.title else 1.0
    rows = [(size_of(one), max(1e-3, unit * READ[panel.what](one)), one.activity) for one in found]
    frame = pd.DataFrame(rows, columns=["size", "value", "activity"])
    x, y = logarithmic("x", frame["size"], axis), logarithmic("y", frame["value"], panel.title)
    shown = [activity for activity in ACTIVITIES if any(activity in own.activities for own in PANELS[axis])]
    scale = alt.Scale(domain=shown, range=[COLORS[activity] for activity in shown])
    legend = alt.Legend(orient="top", columns=4, title=None)
    lines = table_chart(frame).encode(x=x, y=y, color=alt.Color("activity:N", scale=scale, legend=legend))
    sizes = np.array([frame["size"].min(), frame["size"].max()], dtype=float)
    top = frame.loc[frame["size"] == sizes[1], "value"].max()
    guide = pd.DataFrame({"size": sizes, "value": top * (sizes / sizes[1]) ** panel.slope})
    dashed = table_chart(guide).mark_line(style="boundary").encode(x=x, y=y)
    layers = dashed, lines.mark_line(), lines.mark_point(filled=True, size=26)
    return alt.layer(*layers).properties(width=200, height=220)


def logarithmic(channel: str, values: pd.Series[float], title: str) -> Any:
    """Return a logarithmic axis on which powers of ten are written."""
    powers = [10.0**k for k in range(math.floor(np.log10(values.min())), math.ceil(np.log10(values.max())) + 1)]
    axis = alt.Axis(values=powers, format=",~g" if powers[-1] < 1e5 else "~s")
    made = {"x": alt.X, "y": alt.Y}[channel]
    return made(f"{values.name}:Q", title=title, scale=alt.Scale(type="log"), axis=axis)


def write(found: Sequence[Found], folder: Path) -> None:
    """Write tables and charts of all that is known."""
    found = further_steps(found)
    file = folder / "scale.md"
    for axis, about in ABOUT.items():
        own = [one for one in found if one.axis == axis]
        if own:
            write_section(file, TITLE, axis, about, table(own, axis), measured(own))
            (folder / f"scale-{axis}.png").write_bytes(small_png(chart(found, axis)))
    about = "Slopes of the logarithms, by least squares, from 1,000 steps and from 1,000,000 parameters on."
    write_section(file, TITLE, "exponents", about, exponents(found), measured(found))
