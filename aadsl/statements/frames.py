"""Answers as tables: for other programs, and for who goes on in pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FIRST = (
    "rank", "ranked", "ranked_effect", "ranked_exact", "ranked_trust", "stage", "behavior", "share", "share_low",
    "share_high", "effect", "retrained_effect", "unit", "effect_low", "effect_high", "exact", "trust", "trust_reason",
    "observed", "counterfactual",
)  # fmt: skip
"""Columns in the order in which one reads them."""
PLAIN = {
    "training_example": "example",
    "example_estimate": "estimate",
    "example_exact": "exact_effect",
    "example_trust": "trust",
    "example_trust_reason": "trust_reason",
}
"""What columns of a table about examples are called."""


ANSWER = "aadsl"
"""Among the ``attrs`` of a table of pandas: it is an answer."""


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return one row for each stage and behavior (and example), or for each step where no stage was asked about."""
    if "example_estimate" in dataset:
        return examples(dataset)
    wide = {"stage", "behavior", "example"} if "stage" in dataset.dims else {"step", "behavior"}
    chosen = [name for name, v in dataset.data_vars.items() if set(map(str, v.dims)) <= wide and v.dims]
    if "example_effect" not in dataset:
        wide -= {"example"}
    return dataset[chosen].to_dataframe().reset_index()


def tidy(dataset: xr.Dataset) -> pd.DataFrame:
    """Return one row for each stage and behavior, of an answer that ranks, for each rank and behavior,
    and of one about single examples as :func:`examples` has them.

    The columns are called as in the answer: ``effect``, ``unit``, the ends of its interval ``effect_low`` and
    ``effect_high``, ``exact``, ``trust``, ``trust_reason`` …; ``counterfactual`` is the behavior without the stage.
    """
    if "example_estimate" in dataset:
        return examples(dataset)
    rows = ["rank" if "ranked" in dataset else "stage", "behavior"]
    if "observed" in dataset and "effect" in dataset:
        best = dataset["effect"]
        if "retrained_effect" in dataset:
            best = dataset["retrained_effect"].fillna(best)
        dataset = dataset.assign(counterfactual=dataset["observed"] - best)
    chosen = [name for name, v in dataset.data_vars.items() if v.dims and set(map(str, v.dims)) <= {*rows}]
    frame = dataset[chosen].reset_coords(drop=True).to_dataframe(dim_order=rows).reset_index()
    first = [name for name in FIRST if name in frame]
    return _answer(frame[[*first, *(name for name in frame if name not in first)]])


def _answer(frame: pd.DataFrame) -> pd.DataFrame:
    frame.attrs[ANSWER] = "answer"
    return frame


def examples(dataset: xr.Dataset) -> pd.DataFrame:
    """Return one row for each stage, behavior and training example of the stage, those that helped most first.

    ``effect`` is exact where ``exact`` says so, else the ``estimate``; ``per_occurrence`` is its part for each time the
    stage consumed the example. What is known of the examples, their ``index`` first, comes last.
    """
    import numpy as np
    import pandas as pd

    cells = ["stage", "behavior", "training_example"]
    names = ["example_estimate", "example_exact", "example_trust", "example_trust_reason", "occurrences", "unit"]
    names += ["higher_is_better", *(["self_influence"] if "self_influence" in dataset else [])]
    frame = dataset[names].to_dataframe(dim_order=cells).reset_index()
    frame = frame[frame["occurrences"] > 0].rename(columns=PLAIN)
    frame.insert(3, "effect", frame["exact_effect"].fillna(frame["estimate"]))
    frame.insert(4, "exact", np.isfinite(frame.pop("exact_effect")))
    frame.insert(5, "per_occurrence", frame["effect"] / frame["occurrences"])
    good = frame["effect"] * np.where(frame.pop("higher_is_better"), 1, -1)
    stage, behavior = (pd.factorize(frame[name])[0] for name in ("stage", "behavior"))
    frame = frame.iloc[np.lexsort((-good, behavior, stage))].reset_index(drop=True)
    known = [name for name in map(str, dataset.coords) if dataset[name].dims == ("training_example",)]
    last = [name for name in known if name in frame and name != "example"]
    return _answer(frame[[*(name for name in frame if name not in last), *last]])
