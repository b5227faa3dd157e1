"""What the explorer sends to the browser: an answer as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from aadsl.charts import theme
from aadsl.charts.coloring import effects_by_group, furthest
from aadsl.charts.compression import compressed_in_words, compression
from aadsl.charts.doubt import step_trust
from aadsl.charts.frame import behaviors, kind, stages_of, telling_variables
from aadsl.charts.grouping import OTHERS, group_steps
from aadsl.charts.needs import STEP_EFFECTS, demand
from aadsl.charts.texts import labels
from aadsl.charts.words import sign, units
from aadsl.core.texts import LONGEST
from jupyter_ext.explorer.written import equals, reference

CATEGORIES = 500
LEGEND = 12
"""Names of a column that the legend shows, the most frequent first to get a place; they can be selected."""
SMALLEST = {"f": ("<f4", "<f8"), "i": ("<i1", "<i2", "<i4", "<f8")}


def header_of(dataset: xr.Dataset, can_retrain: bool) -> tuple[dict[str, Any], bytes, list[bytes]]:
    """Return header, effects (behavior, step) and columns (step, the last one: bits of the stages' members).

    Numbers are little-endian, of the smallest type that holds them unchanged, which the header names. Names are
    numbered in ``categories`` of their column; −1 and NaN stand for what was not recorded.

    Raises:
        AadslError: the answer has no effects of single steps.
    """
    demand(dataset, "the explorer", [STEP_EFFECTS])
    effects = compact(dataset["step_effect"].transpose("behavior", "step").values)
    columns = [_stage_column(dataset), *(_column(dataset, name) for name in telling_variables(dataset))]
    payload = effects.tobytes()
    described = [{**described, "type": values.dtype.str} for described, values in columns]
    stages, members = _members(dataset)
    numbers = [*(values.tobytes() for _, values in columns), members]
    header = {
        "length": dataset.sizes["step"],
        "type": effects.dtype.str,
        "behaviors": [_behavior(dataset, name) for name in behaviors(dataset)],
        "columns": described,
        "stages": stages,
        "none": OTHERS,
        "palette": {
            "stages": list(theme.STAGES),
            "more": theme.MORE,
            "none": f"{theme.NEITHER}d9",
            "numbers": list(theme.SEQUENTIAL),
        },
        "under": _under(dataset),
        "can_retrain": can_retrain,
        "keep": False,
    }
    return header, payload, numbers


def compact(values: np.ndarray) -> np.ndarray:
    """Return the same numbers in the smallest type that holds every one of them unchanged."""
    for name in SMALLEST["f" if values.dtype.kind == "f" else "i"]:
        with np.errstate(over="ignore", invalid="ignore"):
            small = values.astype(name)
        if np.array_equal(small.astype(values.dtype), values, equal_nan=values.dtype.kind == "f"):
            return small
    return values.astype("<f8")


def _behavior(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    observed = dataset.get("observed")
    squeezed = compression(dataset["step_effect"].sel(behavior=name).values)
    return {
        "name": name,
        "text": reference(name),
        "unit": units(dataset, name),
        "sign": sign(dataset, name),
        **step_trust(dataset, name),
        "squeezed": squeezed and {**asdict(squeezed), "words": compressed_in_words({name: squeezed})},
        "observed": None if observed is None else float(observed.sel(behavior=name)),
    }


def _under(dataset: xr.Dataset) -> str:
    """Return how a question ends that asks the same of another stage; nothing for the intervention that goes unsaid."""
    intervention = str(dataset.attrs.get("intervention", ""))
    return "" if intervention in ("", "skip()") else f" under {intervention}"


def _members(dataset: xr.Dataset) -> tuple[list[dict[str, Any]], bytes]:
    """Return the stages that can be picked, and which steps they hold: (stage, steps / 8) of packed bits."""
    if "member" not in dataset or "stage" not in dataset.dims:
        return [], b""
    written = [(name, text) for name in stages_of(dataset, None) if (text := reference(name))]
    member = dataset["member"].sel(stage=[name for name, _ in written]).transpose("stage", "step").values.astype(bool)
    return [{"name": name, "text": text} for name, text in written], np.packbits(member, 1, "little").tobytes()


def _stage_column(dataset: xr.Dataset) -> tuple[dict[str, Any], np.ndarray]:
    grouping = group_steps(dataset, None)
    own = [name for name in grouping.coloring.colors if name != grouping.coloring.rest]
    names = [*own, *(name for name in grouping.names if name not in own)]
    number = {name: k for k, name in enumerate(names)}
    codes = compact(np.array([number[value] for value in grouping.values], dtype=np.int64))
    return {"name": "stage", "categories": names, "conditions": []}, codes


def _column(dataset: xr.Dataset, name: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return a column of the steps. The categories that have colors of their own, of many the furthest, are first."""
    values = dataset[name].values
    if kind(values) == "quantitative":
        return {"name": name}, compact(values)
    texts = values.astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    listed = sorted(names[order[:LEGEND]].tolist())
    own = listed
    if len(listed) > (most := len(theme.STAGES)):
        effects = effects_by_group(dataset, _numbers(texts, listed), len(listed))
        own = [listed[k] for k in furthest(effects, most)]
    kept = [*own, *(one for one in listed if one not in own), *names[order[LEGEND:CATEGORIES]].tolist()]
    called = [*labels(kept, LONGEST).values()]  # the browser compares numbers, and shows these
    described = {"name": name, "categories": called, "conditions": _conditions(name, values, kept[:LEGEND])}
    return described, compact(_numbers(texts, kept))


def _numbers(texts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the place of each text among the names, −1 where it is none of them."""
    number = {name: k for k, name in enumerate(names)}
    return np.array([number.get(text, -1) for text in texts.tolist()], dtype=np.int64)


def _conditions(name: str, values: np.ndarray, shown: Sequence[str]) -> list[str]:
    """Return for each name of the legend the condition that selects it; nothing where there is none."""
    if values.dtype.kind == "b":
        return [equals(name, text == "True") for text in shown]
    if all(isinstance(value, str) for value in values.tolist()):
        return [equals(name, text) for text in shown]
    return ["" for _ in shown]


def selected(view: dict[str, Any], mask: np.ndarray | None, length: int) -> np.ndarray:
    """Return which steps (length,) the view selects: those of its brush, where there is one, that ``mask`` allows.

    Without a brush and a mask nothing is selected.
    """
    steps = np.arange(length)
    brushed = view["start"] < view["stop"]
    if not brushed and mask is None:
        return np.zeros(length, dtype=bool)
    chosen = (steps >= view["start"]) & (steps < view["stop"]) if brushed else np.ones(length, dtype=bool)
    return chosen if mask is None else chosen & mask
