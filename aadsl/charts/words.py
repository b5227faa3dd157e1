"""The words of the charts: what is shown, in which unit, and which sign means what."""

from __future__ import annotations

import xarray as xr

AXES = {1: "hurt  ←  {what}  →  helped", -1: "helped  ←  {what}  →  hurt"}


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
    return [behavior, effect_axis(dataset, behavior, what)]


def quoted(names: list[str]) -> str:
    """Join names for a title: ``"a", "b" and 3 more``."""
    shown = [f'"{name}"' for name in names[:3]]
    if len(names) > 3:
        return f"{', '.join(shown)} and {len(names) - 3} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def provenance(dataset: xr.Dataset) -> str:
    """Say in words which estimator answered which question."""
    estimator = str(dataset.attrs.get("estimator", "")).strip()
    intervention = str(dataset.attrs.get("intervention", "")).strip()
    if not estimator:
        return ""
    exact = estimator.startswith("retraining")
    source = "exact, by retraining" if exact else f"estimated by {estimator}"
    cause = str(dataset.attrs.get("unverified_cause", ""))
    doubt = f", on a trajectory that does not pass verification ({cause})" if cause else ""
    return f"{source}, under {intervention}{doubt}" if intervention else f"{source}{doubt}"


def sentence(*parts: str) -> str:
    """Join the parts that are not empty into sentences, each starting with a capital letter."""
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)
