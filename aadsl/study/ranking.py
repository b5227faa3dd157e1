"""The largest effects of an answer, in order."""

from __future__ import annotations

import numpy as np
import xarray as xr

from aadsl.estimators.base import Floats


def ranked(dataset: xr.Dataset, axis: str, top: int, confirmed: Floats | None = None) -> xr.Dataset:
    """Return an answer with its ``top`` largest effects along ``axis``, whichever their sign, for each behavior.

    Args:
        dataset: with ``effect`` over (stage, behavior), or ``step_effect`` over (step, behavior).
        axis: ``"stage"`` or ``"step"``.
        top: how many.
        confirmed: (T, K) exact effects of steps, NaN where they are not known. The ``top`` are those with the largest
            estimates; among them the order follows what is exact.

    Returns:
        The answer with ``ranked``, ``ranked_effect``, ``ranked_exact`` and ``ranked_trust`` over (rank, behavior).
    """
    name = "effect" if axis == "stage" else "step_effect"
    effects = dataset[name].transpose(axis, "behavior")
    estimates = effects.to_numpy()
    order = np.argsort(-np.abs(estimates), axis=0, kind="stable")[:top]
    values = np.take_along_axis(estimates, order, axis=0)
    exact = np.zeros(values.shape, dtype=bool)
    trust = np.broadcast_to(dataset["step_trust"].to_numpy(), values.shape) if axis == "step" else None
    if confirmed is not None:
        known = np.take_along_axis(confirmed, order, axis=0)
        exact, values = np.isfinite(known), np.where(np.isfinite(known), known, values)
    if axis == "stage":
        tables = (dataset[name].transpose(axis, "behavior").to_numpy() for name in ("exact", "trust"))
        exact, trust = (np.take_along_axis(table, order, axis=0) for table in tables)
    assert trust is not None  # steps have one, and so have stages
    trust = np.where(exact, "high", trust) if axis == "step" else trust
    again = np.argsort(-np.abs(values), axis=0, kind="stable")
    columns = {
        "ranked": effects[axis].to_numpy()[np.take_along_axis(order, again, axis=0)],
        "ranked_effect": np.take_along_axis(values, again, axis=0),
        "ranked_exact": np.take_along_axis(exact, again, axis=0),
        "ranked_trust": np.take_along_axis(trust, again, axis=0),
    }
    found = dataset.assign({name: (("rank", "behavior"), column) for name, column in columns.items()})
    return found.assign_coords(rank=np.arange(1, len(order) + 1))
