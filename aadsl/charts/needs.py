"""What an answer must hold for a chart to draw it, as data: the language reads it before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import xarray as xr

from aadsl.core.errors import AadslError


@dataclass(frozen=True)
class Need:
    """One thing that an answer must hold.

    Attributes:
        what: it in words.
        variables: names of an answer's variables, or patterns of them, any one of which will do.
        way_out: how to ask for it.
    """

    what: str
    variables: tuple[str, ...]
    way_out: str

    def met_by(self, names: Iterable[str]) -> bool:
        """Return whether an answer with variables of these ``names`` holds it."""
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.variables)


ASK = "ask for them first: score … on …"
STEP_EFFECTS = Need(
    "effects of single steps",
    ("step_effect",),
    "ask for them: score … using first_order(), on a behavior with a gradient, such as margin",
)
MEMBERS = Need("stages", ("member",), ASK)
EFFECTS = Need("effects of stages", ("effect", "retrained_effect"), ASK)
ESTIMATES = Need("estimated effects", ("effect",), "ask for estimates too: verify … on …")
EXACT_EFFECTS = Need("exact effects beside estimates", ("retrained_effect",), "ask for both: verify … on …")
EXAMPLE_EFFECTS = Need(
    "effects on single examples",
    ("example_effect",),
    "ask for single examples: behavior NAME = … on … per example, then score … on NAME",
)
ASK_SHARES = "ask for them: shares FAMILY on BEHAVIOR"
SHARES = Need("shares of stages", ("share",), ASK_SHARES)
WITHOUT_ALL = Need("values without any of the stages", ("without",), ASK_SHARES)
SCHEDULE = Need(
    "learning rate, momentum or loss of the steps",
    ("lr", "lr_[0-9]*", "momentum", "momentum_[0-9]*", "loss", "loss_[0-9]*"),
    "this run recorded none of them",
)


def unmet(needs: Iterable[Need], names: Iterable[str]) -> Need | None:
    """Return the first of ``needs`` that an answer with variables of these ``names`` does not meet."""
    known = tuple(names)
    return next((need for need in needs if not need.met_by(known)), None)


def demand(dataset: xr.Dataset, drawn: str, needs: Iterable[Need]) -> None:
    """Raise where ``dataset`` lacks what the chart called ``drawn`` needs.

    Raises:
        AadslError: says what, and how to ask for it.
    """
    need = unmet(needs, map(str, dataset.variables))
    if need is not None:
        raise AadslError(f"this answer has no {need.what}, which {drawn} draws", hint=need.way_out)
