"""The words of the charts: what is shown, in which unit, and which sign means what."""

from __future__ import annotations

import xarray as xr

from aadsl.charts.texts import labels
from aadsl.core.numbers import signed

AXES = {1: "hurt  ←  {what}  →  helped", -1: "helped  ←  {what}  →  hurt"}


TITLE = 60
"""Letters of a name in a title."""


def label(dataset: xr.Dataset, behavior: str) -> str:
    """Return what stands for a behavior beside others where there is little room."""
    return labels([str(name) for name in dataset["behavior"].values.ravel()])[behavior]


def units(dataset: xr.Dataset, behavior: str) -> str:
    """Return the unit of a behavior, an empty string where it has none."""
    return str(dataset["unit"].sel(behavior=behavior).item()) if "unit" in dataset else ""


def sign(dataset: xr.Dataset, behavior: str) -> int:
    """Return 1 where more of a behavior is better, −1 where less is (a loss): which side of zero helped."""
    better = "higher_is_better" not in dataset or bool(dataset["higher_is_better"].sel(behavior=behavior))
    return 1 if better else -1


def meaning(dataset: xr.Dataset, sentence: str) -> str:
    """Return ``sentence`` with the words {good} and {bad} filled in; a reference to the axes where behaviors differ."""
    signs = {sign(dataset, str(behavior)) for behavior in dataset["behavior"].values}
    if len(signs) > 1:
        return "the axes say which side helped, for less of some behaviors is better"
    good, bad = ("helped", "hurt") if signs != {-1} else ("hurt", "helped")
    return sentence.format(good=good, bad=bad)


def effect_axis(dataset: xr.Dataset, behavior: str, what: str = "effect") -> str:
    """Return an axis title that carries the unit and the sign convention."""
    unit = units(dataset, behavior)
    return AXES[sign(dataset, behavior)].format(what=f"{what} in {unit}" if unit else what)


def panel_axis(dataset: xr.Dataset, behavior: str, what: str = "effect") -> list[str]:
    """Return the axis title of one panel among several: the behavior, then unit and sign convention."""
    return [label(dataset, behavior), effect_axis(dataset, behavior, what)]


def own_scales(names: list[str]) -> str:
    """Say that lengths compare within a behavior alone; nothing where there is one."""
    return "each behavior has its own scale" if len(names) > 1 else ""


def quoted(names: list[str]) -> str:
    """Join names for a title: ``"a", "b" and 3 more``."""
    shown = [f'"{label}"' for label in labels(names[:3], TITLE).values()]
    if len(names) > 3:
        return f"{', '.join(shown)} and {len(names) - 3} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def retrained(dataset: xr.Dataset) -> bool:
    """Whether all of an answer is exact by its estimator: older answers say it in no other way."""
    return str(dataset.attrs.get("estimator", "")).startswith("retraining")


def provenance(dataset: xr.Dataset) -> str:
    """Say in words how the effects of stages were computed, and which question they answer."""
    return _asked(dataset, _source(dataset))


def step_provenance(dataset: xr.Dataset) -> str:
    """Say in words how the effects of single steps were computed, which may be another way than that of the stages."""
    return _asked(dataset, step_source(dataset))


def step_source(dataset: xr.Dataset) -> str:
    """Return by what the effects of single steps were computed."""
    own = str(dataset["step_effect"].attrs.get("estimator", ""))
    if own:
        return f"steps estimated by {own}"
    joined = "step_trust" in dataset and "effect" in dataset  # they joined an answer about stages, which says its own
    return "single steps are estimated" if joined else _source(dataset)


def _source(dataset: xr.Dataset) -> str:
    estimator = str(dataset.attrs.get("estimator", "")).strip()
    older = "exact, by retraining" if retrained(dataset) else f"estimated by {estimator}" if estimator else ""
    return str(dataset.attrs.get("answered_by", "")) or older


def _asked(dataset: xr.Dataset, source: str) -> str:
    """Return ``source`` with the intervention, and a doubt about the whole trajectory where there is one."""
    intervention = str(dataset.attrs.get("intervention", "")).strip()
    cause = str(dataset.attrs.get("unverified_cause", ""))
    doubt = f", on a trajectory that does not pass verification ({cause})" if cause else ""
    under = f", under {intervention}" if intervention else ""
    return f"{source}{under}{doubt}" if source else ""


def interval(low: float, high: float) -> str:
    """Return ``−0.3 … +0.1``."""
    return f"{signed(low)} … {signed(high)}"


def sentence(*parts: str) -> str:
    """Join the parts that are not empty into sentences, each starting with a capital letter."""
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)
