"""One row for each stage and behavior: the number, how it came about, how far it may be off, how far to trust it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from aadsl.charts import words
from aadsl.charts.frame import behaviors, stages_of
from aadsl.charts.needs import EFFECTS, demand
from aadsl.core.absence import is_left_out
from aadsl.core.numbers import beyond, limits_of, plain, signed

LOW_TRUST = "low trust"
EXACT, ESTIMATE = "exact", "estimate"
NARROWEST = 1e-3
SPREAD = (0.1, 0.9)
HIDDEN = ["share", "best", "low", "high", "mark"]
"""Columns that a tooltip leaves out: others say the same in words."""


def answer_table(dataset: xr.Dataset, by: str | None = None) -> pd.DataFrame:
    """Return one row for each stage and behavior, with these columns, the last three always and others where known.

    * ``effect``, ``retrained``: the number, and the exact one beside an estimate. Where only the exact effect was asked
      for, it takes the place of the estimate.
    * ``share``: the part of what all stages do together, where that was asked for.
    * ``how``: whether ``effect`` is exact or an estimate.
    * ``low``, ``high``, ``interval``: ends of the 90% interval of ``effect``, and the same in words.
    * ``spread_low``, ``spread_high``: they bound the middle 80% of the examples' effects.
    * ``trust``, ``reason``.
    * ``best``: the exact effect where it is known, else ``effect``. It decides who helped.
    * ``verdict``: what the stage did, "helped" or "hurt".
    * ``mark``: "low trust", or nothing.
    """
    demand(dataset, "this chart", [EFFECTS])
    chosen = dataset.sel(stage=stages_of(dataset, by))
    frame = pd.DataFrame(
        [(stage, behavior) for stage in stages_of(chosen, None) for behavior in behaviors(chosen)],
        columns=["stage", "behavior"],
    )
    _effects(frame, chosen)
    if "share" in chosen:
        frame["share"] = _flat(chosen["share"]).astype(float)
    _intervals(frame, chosen)
    _spread(frame, chosen)
    for column, variable in (("trust", "trust"), ("reason", "trust_reason")):
        if variable in chosen:
            frame[column] = _flat(chosen[variable]).astype(str)
    frame["best"] = frame["retrained"].fillna(frame["effect"]) if "retrained" in frame else frame["effect"]
    good = frame["best"] * frame["behavior"].map({name: words.sign(dataset, name) for name in behaviors(dataset)})
    frame["verdict"] = np.select([good > 0, good < 0], ["helped", "hurt"], "")
    frame["mark"] = np.where(frame["trust"] == "low", LOW_TRUST, "") if "trust" in frame else ""
    return frame


def told_in_words(table: pd.DataFrame, dataset: xr.Dataset) -> pd.DataFrame:
    """Return the texts of all numbers of an :func:`answer_table`; columns that say nothing of any are left out."""
    shown = pd.DataFrame(index=table.index)
    if "share" in table:
        shown["share"] = [signed(value, 4) for value in table["share"]]
    if "observed" in dataset:
        sure = (table["how"] == EXACT) | (table["retrained"].notna() if "retrained" in table else False)
        rows = zip(table["behavior"], table["best"], sure, strict=True)
        of = {name: dataset.sel(behavior=name) for name in behaviors(dataset)}
        values = [_value(of[name], effect, known) for name, effect, known in rows]
        shown["without" if is_left_out(str(dataset.attrs.get("intervention", "skip()"))) else "would be"] = values
    shown["effect"] = [signed(value, 4) for value in table["effect"]]
    if "retrained" in table:
        shown["exact effect"] = [signed(value, 4) for value in table["retrained"]]
    if "interval" in table:
        shown["90% interval"] = table["interval"]
    if "spread_low" in table:
        known = zip(table["spread_low"], table["spread_high"], strict=True)
        shown["80% of examples"] = [words.interval(*ends) for ends in known]
    shown["how"] = table["how"]
    shown["the stage"] = table["verdict"]
    if "trust" in table:
        shown["trust"] = table["trust"]
    shown = shown.replace({"+nan": "", "nan": "", "≈ nan": "", "+nan … +nan": ""})
    return shown.loc[:, (shown != "").any()]


def _value(one: xr.Dataset, effect: float, exact: bool) -> str:
    """Return what a behavior would be; an estimate says so, and where it cannot be that, what it can be."""
    value = float(one["observed"]) - effect
    if exact:
        return plain(value)
    limit = beyond(value, **limits_of(one))
    return f"≈ {plain(value)} ({limit})" if limit else f"≈ {plain(value)}"


def _effects(frame: pd.DataFrame, chosen: xr.Dataset) -> None:
    for column, variable in (("effect", "effect"), ("retrained", "retrained_effect")):
        if variable in chosen:
            frame[column] = _flat(chosen[variable]).astype(float)
    exact = np.full(len(frame), words.retrained(chosen))
    if "exact" in chosen:
        exact = _flat(chosen["exact"]).astype(bool)
    if "effect" not in frame:
        frame["effect"], exact = frame.pop("retrained"), np.full(len(frame), True)
    if "retrained" in frame and exact.all():
        frame.drop(columns="retrained", inplace=True)  # the same numbers once more
    frame["how"] = np.where(exact, EXACT, ESTIMATE)


def _intervals(frame: pd.DataFrame, chosen: xr.Dataset) -> None:
    if "effect_low" not in chosen or "effect_high" not in chosen:
        return
    low, high = (_flat(chosen[name]).astype(float) for name in ("effect_low", "effect_high"))
    # Whose ends are read as the same number, that of an exact effect with hardly any noise, is not drawn.
    wide = high - low > NARROWEST * np.maximum(np.abs(low), np.abs(high))
    if wide.any():
        frame["low"], frame["high"] = np.where(wide, low, np.nan), np.where(wide, high, np.nan)
        frame["interval"] = [
            words.interval(*ends) if known else "" for *ends, known in zip(low, high, wide, strict=True)
        ]


def _spread(frame: pd.DataFrame, chosen: xr.Dataset) -> None:
    if "example_effect" not in chosen:
        return
    each = chosen["example_effect"].transpose("stage", "behavior", "example").values
    known = np.isfinite(each).sum(axis=-1) > 1
    if not known.any():
        return
    for column, share in zip(("spread_low", "spread_high"), SPREAD, strict=True):
        bound = np.full(known.shape, np.nan)
        bound[known] = np.nanquantile(each[known], share, axis=-1)
        frame[column] = bound.ravel()


def _flat(array: xr.DataArray) -> np.ndarray:
    return array.transpose("stage", "behavior").values.ravel()
