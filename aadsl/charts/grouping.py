"""Which color a step gets: its stages, the members of a family, or a coordinate of the step axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from aadsl.charts import theme
from aadsl.charts.coloring import Coloring, colored, effects_by_group
from aadsl.charts.frame import kind, stages_of, step_variables
from aadsl.charts.texts import LABEL
from aadsl.core.errors import AadslError, unknown_name
from aadsl.core.families import family_of
from aadsl.core.texts import shortened

OTHERS, MISSING = "no stage", "not recorded"
GRAY = (OTHERS, MISSING)


@dataclass(frozen=True)
class Grouping:
    """One value a step, and the color scale that shows it."""

    title: str
    values: np.ndarray
    names: tuple[str, ...] = ()
    """All values in order; empty for a number, which gets a continuous scale."""
    coloring: Coloring = field(default_factory=lambda: Coloring({}))
    """The color of every name; those that are gray not among them."""
    stages: tuple[tuple[str, str], ...] = ()
    """Stages, each with the name it has among ``names``."""

    @property
    def is_number(self) -> bool:
        """Whether the color is a continuous scale."""
        return not self.names

    @property
    def shown(self) -> np.ndarray:
        """What each step is called in the legend: its value, or that of all for which no color is left."""
        if not self.coloring.rest:
            return self.values
        return np.array([name if name in GRAY else self.coloring.shown(name) for name in self.values], dtype=object)

    @property
    def stage_colors(self) -> dict[str, str]:
        """The color of every stage; of one whose steps all belong to others, too, that of no stage."""
        colors = self.coloring.colors
        present = set(self.names)
        return {
            stage: colors[self.coloring.shown(name)] if name in present else theme.NEITHER
            for stage, name in self.stages
        }

    @property
    def lacking(self) -> bool:
        """Whether there is no number at some steps, which are gray."""
        return self.is_number and bool(np.isnan(self.values).any())

    def color(self, column: str) -> Any:
        """Return the color encoding of ``column``."""
        title = shortened(self.title, LABEL)
        if self.is_number:
            scale = alt.Scale(range=list(theme.SEQUENTIAL), interpolate="rgb")
            return alt.Color(
                field=column, type="quantitative", title=title, scale=scale, legend=alt.Legend(orient="top")
            )
        gray = [name for name in self.names if name in GRAY]
        colors = self.coloring.colors | dict.fromkeys(gray, theme.NEITHER)
        scale = alt.Scale(domain=list(colors), range=list(colors.values()))
        legend = None if self.names != (MISSING,) and len(self.names) == 1 else theme.name_legend(colors)
        return alt.Color(field=column, type="nominal", title=title, scale=scale, legend=legend)


def group_steps(dataset: xr.Dataset, by: str | None) -> Grouping:
    """Group the steps of ``dataset`` by its stages, by a family of stages or by a per-step coordinate ``by``."""
    families = {family_of(name) for name in stages_of(dataset, None)} - {""}
    if by is None or by in families:
        return _by_stage(dataset, by)
    if by not in step_variables(dataset):
        raise AadslError(unknown_name("family of stages or coordinate", by, families | {*step_variables(dataset)}))
    values = dataset[by].values
    if kind(values) == "quantitative" and not np.isnan(values.astype(float)).all():
        return Grouping(by, values.astype(float))
    labels = np.array([MISSING if _is_missing(value) else str(value) for value in values], dtype=object)
    names = tuple(sorted(dict.fromkeys(labels), key=lambda name: name == MISSING))
    return Grouping(by, labels, names, _coloring(dataset, labels, names))


def _coloring(dataset: xr.Dataset, labels: np.ndarray, names: Sequence[str]) -> Coloring:
    """Give the ``names`` of the groups their colors, by the effects of their steps where there are too many."""
    named = [name for name in names if name not in GRAY]
    number = {name: k for k, name in enumerate(named)}
    numbers = np.array([number.get(name, -1) for name in labels], dtype=np.int64)
    return colored(named, effects_by_group(dataset, numbers, len(named)))


def _is_missing(value: Any) -> bool:
    """Return whether nothing was recorded: text that was not told is read as empty, a number as NaN."""
    return value is None or value == "" or value != value


def colored_stages(dataset: xr.Dataset, family: str | None) -> list[str]:
    """Return the members of a family, or the stages that are no members: those would show every step twice."""
    names = stages_of(dataset, family)
    return names if family else [name for name in names if not family_of(name)] or names


def _by_stage(dataset: xr.Dataset, family: str | None) -> Grouping:
    names = colored_stages(dataset, family)
    labels = np.full(dataset.sizes["step"], OTHERS, dtype=object)
    if "member" not in dataset or not names:
        return Grouping("stage", labels, (OTHERS,))
    member = dataset["member"].sel(stage=names).transpose("step", "stage").values.astype(bool)
    shown = [_inner(name) if family else name for name in names]
    for pattern in np.unique(member, axis=0):
        if pattern.any():
            labels[(member == pattern).all(axis=1)] = " & ".join(np.array(shown, dtype=object)[pattern])
    present = set(labels)
    ordered = [name for name in shown if name in present]
    ordered += sorted(present.difference(ordered, {OTHERS}))
    legend = (*ordered, *([OTHERS] if OTHERS in present else []))
    coloring = _coloring(dataset, labels, legend)
    return Grouping(family or "stage", labels, legend, coloring, tuple(zip(names, shown, strict=True)))


def _inner(name: str) -> str:
    return name.split("[", 1)[1].removesuffix("]") or "(empty)"
