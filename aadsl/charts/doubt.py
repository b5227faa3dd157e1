"""How far the effects of single steps can be trusted: one word and one reason for each behavior."""

from __future__ import annotations

import xarray as xr

from aadsl.charts import words
from aadsl.charts.frame import behaviors


def step_trust(dataset: xr.Dataset, behavior: str) -> dict[str, str]:
    """Return ``trust`` and ``reason`` of the effects of steps on ``behavior``; nothing where the answer says none."""
    if "step_trust" not in dataset:
        return {}
    one = dataset[["step_trust", "step_trust_reason"]].sel(behavior=behavior)
    return {"trust": str(one["step_trust"].item()), "reason": str(one["step_trust_reason"].item())}


def doubted(dataset: xr.Dataset, behavior: str) -> bool:
    """Whether the effects of steps on ``behavior`` are of low trust."""
    return step_trust(dataset, behavior).get("trust") == "low"


def said(dataset: xr.Dataset, look: str) -> str:
    """Say that what looks so (``look``) is of low trust, on which behaviors, and why; nothing where none is."""
    every = behaviors(dataset)
    low = [name for name in every if doubted(dataset, name)]
    if not low:
        return ""
    reasons = {step_trust(dataset, name)["reason"] for name in low}
    which = "" if low == every else f" on {words.quoted(low)}"
    why = f" ({reasons.pop()})" if len(reasons) == 1 else ""
    return f"{look}: low trust{which}{why}"
