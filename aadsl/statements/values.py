"""What behaviors would be, in words: ``reading 0.31, would be 0.80 without noisy``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from aadsl.core.absence import is_left_out
from aadsl.core.numbers import beyond, limits_of, plain

if TYPE_CHECKING:
    import xarray as xr

MOST = 3
"""Stages that are told of for each behavior: those with the largest effects."""
BEHAVIORS = 6


def values_in_words(dataset: xr.Dataset) -> str:
    """Return one line for each behavior; nothing where the model's own values are not known."""
    if "observed" not in dataset or "effect" not in dataset:
        return ""
    names = [str(name) for name in dataset["behavior"].values]
    more = [f"and {len(names) - BEHAVIORS} more behaviors"] if len(names) > BEHAVIORS else []
    return "\n".join([*(_line(dataset.sel(behavior=name)) for name in names[:BEHAVIORS]), *more])


def _line(one: xr.Dataset) -> str:
    """Return the value of a behavior as it is, and what it would be without the stages that matter most."""
    best = one["retrained_effect"].fillna(one["effect"]) if "retrained_effect" in one else one["effect"]
    effects, observed = best.to_numpy().astype(float), float(one["observed"])
    if not effects.any():
        none = "no stage has any effect" if len(effects) > 1 else "the stage has no effect"
        return f"{one['behavior'].item()} {plain(observed, 3)}: {none} on it"
    order = np.argsort(-np.abs(np.nan_to_num(effects)), kind="stable")[:MOST]
    values = observed - effects[order]
    digits = next((d for d in range(3, 9) if _apart(observed, values, d)), 9)
    unit = f" {one['unit'].item()}".rstrip() if "unit" in one else ""
    told = ", ".join(f"{plain(v, digits)} {how}" for v, how in zip(values, _ways(one, order, values), strict=True))
    rest = len(effects) - len(order)
    more = f"; {rest} {'stage' if rest == 1 else 'stages'} more did less" if rest else ""
    return f"{one['behavior'].item()} {plain(observed, digits)}{unit}, would be {told}{more}"


def _ways(one: xr.Dataset, order: np.ndarray, values: np.ndarray) -> Iterator[str]:
    intervention = str(one.attrs.get("intervention", "skip()"))
    left_out = is_left_out(intervention)
    limits = limits_of(one)
    for s, value in zip(order, values, strict=True):
        stage = one.isel(stage=int(s))
        exact = "retrained_effect" in stage or ("exact" in stage and bool(stage["exact"]))
        how = f"without {stage['stage'].item()}" if left_out else f"with {stage['stage'].item()} under {intervention}"
        limit = beyond(float(value), **limits)
        estimated = f"estimated, and out of range: it is {limit}" if limit else "estimated"
        yield how if exact else f"{how} ({estimated})"


def _apart(observed: float, values: np.ndarray, digits: int) -> bool:
    """Return whether so many digits show which values differ from the observed one."""
    return all(value == observed or plain(value, digits) != plain(observed, digits) for value in values)
