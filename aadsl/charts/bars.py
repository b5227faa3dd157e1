"""The effect of every stage on every behavior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import ESTIMATE, EXACT, HIDDEN, answer_table
from aadsl.charts.compression import Compression, compressed_in_words, compression
from aadsl.charts.frame import behaviors, of_stages, table_chart, tooltips, zero_line
from aadsl.charts.needs import EFFECTS, Need
from aadsl.charts.panels import panels_of_names
from aadsl.core.arguments import checked

STEP = 26
FEWEST = 3
"""Of fewer stages none is called an outlier."""
NOTE = 60
"""Pixels of what is written beside a bar."""


@checked
@dataclass(frozen=True)
class Bars:
    """One bar a stage: to the right the stage helped, to the left it hurt.

    A solid bar is an exact number, an outlined one an estimate; dashed and pale is low trust. A diamond marks the
    estimate beside an exact number, a whisker the 90% interval of an estimate, a gray line below the bar the middle 80%
    of the examples. ``sort`` orders the stages by their effect instead of keeping the order of the program. Where a few
    stages would hide the others, the axis is logarithmic away from zero, unless ``linear``.
    """

    sort: bool = False
    linear: bool = False

    needs: ClassVar[tuple[Need, ...]] = (EFFECTS,)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one panel for each behavior. ``by``: show only the members of this family of stages."""
        table = answer_table(dataset, by)
        names = behaviors(dataset)
        # By name: sorts by a channel differ between layers, and Vega-Lite drops them then.
        shown = table.sort_values("best", ascending=False, kind="stable") if self.sort else table
        frames = {name: shown[shown["behavior"] == name] for name in names}
        squeezed = {name: None if self.linear else _compression(frame) for name, frame in frames.items()}

        def panel(name: str, width: int, axis: Any) -> Any:
            drawn = self._panel(dataset, name, frames[name], axis, squeezed[name]).properties(width=width)
            return drawn if len(names) == 1 else drawn.properties(title=theme.heading(words.label(dataset, name)))

        chart = panels_of_names(panel, [frame["stage"].tolist() for frame in frames.values()], names, NOTE)
        title = f"Effect of {_stages(table)} on {words.quoted(names)}"
        scale = compressed_in_words(squeezed, "; bars(linear=true) draws lengths as they are", "stages")
        lines = [*_legend(dataset, table), words.sentence(scale)]
        return theme.titled(of_stages(dataset, by), chart, "effects of stages", title, *lines)

    def _panel(
        self, dataset: xr.Dataset, name: str, frame: pd.DataFrame, axis: Any, squeezed: Compression | None
    ) -> Any:
        order = frame["stage"].tolist() if self.sort else None
        y = alt.Y("stage:N", title=None, sort=order, axis=axis)
        look = squeezed.channel if squeezed else {"axis": alt.Axis(tickCount=5)}
        x = alt.X("best:Q", title=words.effect_axis(dataset, name), **look)
        base = table_chart(frame).encode(y=y)
        formats = dict.fromkeys(("effect", "retrained", "spread_low", "spread_high"), "+.4~g")
        tips = tooltips(frame.drop(columns=HIDDEN, errors="ignore"), formats)
        layers = [_bars(base.encode(x=x, x2=alt.datum(0), tooltip=tips), words.sign(dataset, name)), zero_line("x")]
        if _known(frame, "spread_low"):
            spread = base.mark_rule(style="spread", yOffset=STEP * 0.44)
            layers.append(spread.encode(x="spread_low:Q", x2="spread_high:Q", tooltip=tips))
        if _known(frame, "low"):
            layers += _whiskers(base.encode(tooltip=tips))
        if "retrained" in frame:
            layers.append(_diamonds(base.encode(x="effect:Q", tooltip=tips)))
        if (frame["mark"] != "").any():
            layers.append(_trust(base))
        return alt.layer(*layers).properties(height=alt.Step(STEP))


def _compression(frame: pd.DataFrame) -> Compression | None:
    """Return the axis of one panel, where what is drawn of a few stages reaches much further than of the others."""
    drawn = [name for name in ("best", "effect", "low", "high", "spread_low", "spread_high") if name in frame]
    return compression(frame[drawn].to_numpy(), FEWEST)


def _bars(base: Any, sign: int) -> Any:
    """Return solid bars for exact numbers and outlined ones for estimates; what is not trusted is paler and dashed."""
    doubt, exact = "datum.mark !== ''", f"(datum.how === '{EXACT}' || isValid(datum.retrained))"
    filled = alt.when(f"{doubt} && {exact}").then(alt.value(0.4)).when(doubt).then(alt.value(0))
    bars = base.mark_bar(height={"band": 0.6}, strokeWidth=1.5)
    return bars.encode(
        fill=theme.sign_color(sign, "best"),
        stroke=theme.sign_color(sign, "best"),
        fillOpacity=filled.when(exact).then(alt.value(0.95)).otherwise(alt.value(0.2)),
        strokeDash=alt.condition(doubt, alt.value([3, 2]), alt.value([1, 0])),
    )


def _whiskers(base: Any) -> list[Any]:
    """Return lines with caps from ``low`` to ``high``."""
    caps = [base.mark_tick(style="ink", thickness=1.5, size=10).encode(x=f"{end}:Q") for end in ("low", "high")]
    return [base.mark_rule(style="ink").encode(x="low:Q", x2="high:Q"), *caps]


def _diamonds(base: Any) -> Any:
    """Return a diamond for each estimate of which the exact number is known, too."""
    both = base.transform_filter(f"datum.how === '{ESTIMATE}' && isValid(datum.retrained)")
    return both.mark_point(style="frame", shape="diamond", size=55, opacity=1, filled=False)


def _trust(base: Any) -> Any:
    ends = (f"datum.{name} || 0" for name in ("effect", "high", "spread_high", "retrained"))
    text = base.transform_calculate(end=f"max(0, {', '.join(ends)})").mark_text(style="note", align="left", dx=8)
    return text.encode(x="end:Q", text="mark:N")


def _stages(table: pd.DataFrame) -> str:
    names = list(dict.fromkeys(table["stage"]))
    return f'stage "{names[0]}"' if len(names) == 1 else f"{len(names)} stages"


def _known(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool(frame[column].notna().any())


def _legend(dataset: xr.Dataset, table: pd.DataFrame) -> list[str]:
    exact = table["how"] == EXACT
    beside = ~exact & table["retrained"].notna() if "retrained" in table else exact & False
    marks = {
        "solid: exact, by training again": (exact | beside).any(),
        "outlined: estimate": not (exact | beside).all(),
        "diamond: the estimate beside it": beside.any(),
        "whisker: 90% interval of the estimate": _known(table[~exact], "low"),
        "whisker of a solid bar: by how much a run without any change is off": _known(table[exact], "low"),
        "gray line below: the middle 80% of the examples": _known(table, "spread_low"),
    }
    first = words.sentence(
        words.meaning(dataset, "to the right a stage {good}, to the left it {bad}"), words.provenance(dataset)
    )
    shown = "; ".join(said for said, there in marks.items() if there)
    return [first, words.sentence(words.own_scales(behaviors(dataset)), shown)]
