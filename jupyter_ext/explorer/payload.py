"""What the explorer sends to the browser: an answer as plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from aadsl.charts import theme
from aadsl.charts.doubt import step_trust
from aadsl.charts.frame import behaviors, kind, telling_variables
from aadsl.charts.grouping import OTHERS, group_steps
from aadsl.charts.needs import STEP_EFFECTS, demand
from aadsl.charts.words import sign, units

KEPT_IN_NOTEBOOK = 3_000_000
"""Bytes up to which an explorer is saved in the notebook; larger ones leave their picture alone."""
CATEGORIES = 500


def header_of(dataset: xr.Dataset, can_retrain: bool) -> tuple[dict[str, Any], bytes, list[bytes]]:
    """Return header, effects (behavior, step) and columns (step) of an answer; numbers are float64 bytes.

    Names are numbered in ``categories`` of their column; −1 and NaN stand for what was not recorded.

    Raises:
        AadslError: the answer has no effects of single steps.
    """
    demand(dataset, "the explorer", [STEP_EFFECTS])
    effects = dataset["step_effect"].transpose("behavior", "step")
    columns = [_stage_column(dataset), *(_column(name, dataset[name].values) for name in telling_variables(dataset))]
    payload = effects.values.astype("<f8").tobytes()
    described = [described for described, _ in columns]
    numbers = [values.astype("<f8").tobytes() for _, values in columns]
    observed = dataset.get("observed")
    header = {
        "length": dataset.sizes["step"],
        "behaviors": [
            {
                "name": name,
                "unit": units(dataset, name),
                "sign": sign(dataset, name),
                **step_trust(dataset, name),
                "observed": None if observed is None else float(observed.sel(behavior=name)),
            }
            for name in behaviors(dataset)
        ],
        "columns": described,
        "none": OTHERS,
        "palette": {"stages": list(theme.STAGES), "none": f"{theme.NEITHER}d9"},
        "under": _under(dataset),
        "can_retrain": can_retrain,
        "keep": len(payload) + sum(map(len, numbers)) <= KEPT_IN_NOTEBOOK,
    }
    return header, payload, numbers


def _under(dataset: xr.Dataset) -> str:
    """Return how a question ends that asks the same of another stage; nothing for the intervention that goes unsaid."""
    intervention = str(dataset.attrs.get("intervention", ""))
    return "" if intervention in ("", "skip()") else f" under {intervention}"


def _stage_column(dataset: xr.Dataset) -> tuple[dict[str, Any], np.ndarray]:
    grouping = group_steps(dataset, None)
    names = list(grouping.names)
    return {"name": "stage", "categories": names}, np.array([names.index(value) for value in grouping.values])


def _column(name: str, values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    if kind(values) == "quantitative":
        return {"name": name}, values.astype(float)
    texts = values.astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    kept = sorted(names[np.argsort(-counts)[:CATEGORIES]].tolist())
    number = {text: k for k, text in enumerate(kept)}
    return {"name": name, "categories": kept}, np.array([number.get(text, -1) for text in texts.tolist()])


def selection_text(view: dict[str, Any], length: int) -> str:
    """Return the selection of a view in the words of the language; the browser writes the same text."""
    whole = view["start"] <= 0 and view["stop"] >= length
    steps = "steps" if whole else f"steps[{view['start']}:{view['stop']}]"
    condition = view["where"].strip()
    return f"{steps} where {condition}" if condition else steps


def selected(view: dict[str, Any], mask: np.ndarray | None, length: int) -> np.ndarray:
    """Return which steps (length,) the view selects: those in its range that ``mask`` allows."""
    steps = np.arange(length)
    chosen = (steps >= view["start"]) & (steps < view["stop"])
    allowed: np.ndarray = chosen if mask is None else np.logical_and(chosen, mask)
    return allowed
