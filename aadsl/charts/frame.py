"""From a labelled Dataset to the flat rows that a chart draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts.texts import label_expression
from aadsl.core.errors import AadslError, unknown_name
from aadsl.core.families import family_of
from aadsl.data.coordinates import useful

TOOLTIP_LIMIT = 14


def behaviors(dataset: xr.Dataset) -> list[str]:
    """Return the names of the behaviors in the order in which they were asked for."""
    return [str(name) for name in np.atleast_1d(dataset["behavior"].values)]


def stages_of(dataset: xr.Dataset, by: str | None) -> list[str]:
    """Return all stages, or the members ``by[…]`` of one family."""
    names = [str(name) for name in np.atleast_1d(dataset["stage"].values)] if "stage" in dataset.dims else []
    if by is None:
        return names
    members = [name for name in names if family_of(name) == by]
    if not members:
        families = {family_of(name) for name in names} - {""}
        raise AadslError(unknown_name("family of stages", by, families))
    return members


def of_stages(dataset: xr.Dataset, by: str | None) -> xr.Dataset:
    """Return the part of an answer that is about these :func:`stages_of`."""
    return dataset.sel(stage=stages_of(dataset, by)) if by else dataset


def step_variables(dataset: xr.Dataset) -> list[str]:
    """Return the names of the per-step metadata, the most telling first."""
    names = [str(n) for n, v in dataset.variables.items() if v.dims == ("step",) and n != "step"]
    first = ("phase", "tag", "epoch", "loss", "lr")
    return sorted(names, key=lambda n: (first.index(n) if n in first else len(first), n))


def telling_variables(dataset: xr.Dataset) -> list[str]:
    """Return the per-step metadata that differ between steps; what is the same at every step tells nothing of one."""
    return [name for name in useful(step_variables(dataset)) if _differs(dataset[name].values)]


def _differs(values: np.ndarray) -> bool:
    if values.dtype.kind in "fiub":
        return bool((values != values[:1]).any() and not np.isnan(values.astype(float)).all())
    return len(set(values.tolist())) > 1


def step_table(dataset: xr.Dataset) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return one row a step with the metadata that tell it from others, without effects; and their names by column.

    The columns are called c0, c1 …: Vega reads more into names than a recording may mean by them.
    """
    names = {f"c{position}": name for position, name in enumerate(telling_variables(dataset))}
    columns = {column: dataset[name].values for column, name in names.items()}
    return pd.DataFrame({"step": dataset["step"].values, **columns}), names


def rows(frame: pd.DataFrame) -> Any:
    """Return ``frame`` as inline chart data; what is missing or not finite becomes null."""
    columns = {str(name): _plain(frame[name]) for name in frame.columns}
    names = list(columns)
    values = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return alt.InlineData(values=values)


def listed(frame: pd.DataFrame, **same: Any) -> dict[str, Any]:
    """Return ``frame`` as lists by column, beside what is the ``same`` in all of its rows: a fraction of their size."""
    return {**same, **{str(name): _plain(frame[name]) for name in frame.columns}}


def unrolled(parts: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> Any:
    """Return a chart whose data are the rows of :func:`listed` frames with these ``columns``."""
    return alt.Chart(alt.InlineData(values=[*parts])).transform_flatten([str(name) for name in columns])


def table_chart(frame: pd.DataFrame) -> Any:
    """Return a chart whose data are the rows of ``frame``."""
    return unrolled([listed(frame)], frame.columns)


def _plain(column: pd.Series[Any]) -> list[Any]:
    values = column.tolist()
    if column.dtype.kind == "f":
        return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]
    if column.dtype.kind in "biu":
        return values
    return [v if isinstance(v, bool | int | float) else None if v is None else str(v) for v in values]


def name_axis(names: Iterable[str], **options: Any) -> Any:
    """Return an axis of names without ticks; the ends of long ones stay."""
    return alt.Axis(ticks=False, labelExpr=label_expression(names) or alt.Undefined, **options)


def zero_line(channel: str) -> Any:
    """Return the line of no effect across ``channel`` "x" or "y", drawn once whatever the data of its neighbors."""
    return alt.Chart(alt.InlineData(values=[{}])).mark_rule(style="zero").encode(**{channel: alt.datum(0)})


def kind(values: Any) -> str:
    """Return the Vega-Lite type of an array of metadata."""
    return "quantitative" if np.asarray(values).dtype.kind in "fiu" else "nominal"


def tooltips(
    frame: pd.DataFrame, formats: Mapping[str, str] | None = None, titles: Mapping[str, str] | None = None
) -> list[Any]:
    """Return one tooltip line for each column, in order, at most ``TOOLTIP_LIMIT``, called as in ``titles``."""
    chosen = [str(name) for name in frame.columns][:TOOLTIP_LIMIT]
    formats, titles = formats or {}, titles or {}
    out = []
    for name in chosen:
        numeric = kind(frame[name]) == "quantitative"
        floating = np.asarray(frame[name]).dtype.kind == "f"
        form = formats.get(name, ".4~g" if floating else "")
        # Text without a format is "undefined" in newer renderers, where the nearest mark is pointed at.
        options = {} if numeric and not form else {"format": form if numeric else ""}
        out.append(alt.Tooltip(field=name, type=kind(frame[name]), title=titles.get(name, name), **options))
    return out
