"""Estimated effects against exact ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import theme, words
from aadsl.charts.answers import HIDDEN, answer_table
from aadsl.charts.frame import behaviors, of_stages, rows, table_chart, tooltips
from aadsl.charts.needs import ESTIMATES, EXACT_EFFECTS, Need, demand
from aadsl.core.arguments import checked
from aadsl.core.fit import fit

COLUMNS = 2


@checked
@dataclass(frozen=True)
class Agreement:
    """One point a stage: the exact effect (by retraining) to the right, the estimate upward; on the line they agree."""

    size: int = 260

    needs: ClassVar[tuple[Need, ...]] = (EXACT_EFFECTS, ESTIMATES)
    by_coordinate: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Draw one panel for each behavior. ``by``: only the members of this family of stages."""
        demand(dataset, "a chart of agreement", self.needs)
        table = answer_table(dataset, by)
        table = table if "retrained" in table else table.assign(retrained=table["effect"])
        names = behaviors(dataset)
        panels = [self._panel(dataset, name, table[table["behavior"] == name]) for name in names]
        chart = panels[0] if len(panels) == 1 else alt.concat(*panels, columns=COLUMNS, spacing=30)
        title = f"Do estimate and retraining agree on {words.quoted(names)}?"
        doubt = "a hollow point: low trust" if (table["mark"] != "").any() else ""
        text = words.sentence(
            "one point a stage, on the dashed line both agree",
            words.own_scales(names),
            doubt,
            words.provenance(dataset),
        )
        return theme.titled(of_stages(dataset, by), chart, "effects of stages", title, text)

    def _panel(self, dataset: xr.Dataset, name: str, frame: pd.DataFrame) -> Any:
        exact, estimate = frame["retrained"].to_numpy(), frame["effect"].to_numpy()
        values = np.concatenate([exact, estimate, [0.0]])
        values = values[np.isfinite(values)]
        margin = 0.06 * float(np.ptp(values)) or 1.0
        ends = [float(values.min()) - margin, float(values.max()) + margin]
        scale = alt.Scale(domain=ends, nice=False)
        unit = words.units(dataset, name)
        suffix = f", {unit}" if unit else ""
        x = alt.X("retrained:Q", scale=scale, title=f"exact effect, by retraining{suffix}", axis=alt.Axis(tickCount=5))
        y = alt.Y("effect:Q", scale=scale, title=f"estimated effect{suffix}", axis=alt.Axis(tickCount=5))
        same = alt.Chart(rows(pd.DataFrame({"retrained": ends, "effect": ends})))
        tips = tooltips(frame.drop(columns=HIDDEN, errors="ignore"), {"effect": "+.4~g", "retrained": "+.4~g"})
        look: dict[str, Any] = {"style": "frame", "size": 70, "opacity": 0.9}
        points = table_chart(frame).encode(x=x, y=y, tooltip=tips)
        trusted = points.transform_filter("datum.mark === ''")
        layers = [
            same.mark_line(style="boundary").encode(x=x, y=y),
            points.mark_point(filled=False, **look),
            trusted.mark_point(filled=True, **look),
        ]
        heading = theme.heading(words.label(dataset, name), subtitle=fit(estimate, exact).in_words())
        return alt.layer(*layers).properties(width=self.size, height=self.size, title=heading)
