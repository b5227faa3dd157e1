"""What a name means after it was defined anew, in Python and in the language: the new alone, or the old if refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from aadsl.core.errors import AadslError
from aadsl.statements import Session, run
from aadsl.study.names import Names
from tests.statements.fakes import steps

ON = {"probes": (torch.zeros(4, 2), torch.tensor([4, 9, 4, 1]))}

STAGES: dict[str, tuple[Callable[[Names], Any], str]] = {
    "single": (lambda names: names.stage("it", slice(0, 5)), "stage it = steps[0:5]"),
    "family": (
        lambda names: names.family("it", {"0:40": slice(40), "40:60": slice(40, 60)}),
        "stages it every 40 steps",
    ),
    "other family": (
        lambda names: names.family("it", {0: slice(20), 1: slice(20, 40), 2: slice(40, 60)}),
        "stages it by epoch",
    ),
}
BEHAVIORS: dict[str, tuple[Callable[[Names], Any], str]] = {
    "single": (lambda names: names.behavior("it", "margin", on=ON["probes"]), "behavior it = margin on probes"),
    "family": (
        lambda names: names.behavior("it", "margin", on=ON["probes"], by="label"),
        "behavior it = margin on probes by label",
    ),
    "other family": (
        lambda names: names.behavior("it", "margin", on=ON["probes"], where=np.arange(4) < 3, by="label"),
        "behavior it = margin on probes where label in [4, 9] by label",
    ),
}
MEANT = {
    "stages": {
        "single": {"it": range(5)},
        "family": {"it[0:40]": range(40), "it[40:60]": range(40, 60)},
        "other family": {"it[0]": range(20), "it[1]": range(20, 40), "it[2]": range(40, 60)},
    },
    "behaviors": {
        "single": {"it": range(4)},
        "family": {"it[1]": [3], "it[4]": [0, 2], "it[9]": [1]},
        "other family": {"it[4]": [0, 2], "it[9]": [1]},
    },
}
REFUSED: dict[str, list[tuple[Callable[[Names], Any], str]]] = {
    "stages": [
        (lambda names: names.stage("it", []), "stage it = steps[70:]"),
        (lambda names: names.family("it", {"a": slice(3), "b": []}), "stages it every 0 steps"),
        (lambda names: names.family("it", {}), "stages it by tag within steps[0:5]"),
    ],
    "behaviors": [
        (lambda names: names.behavior("it", "margni", on=ON["probes"]), "behavior it = margni on probes"),
        (
            lambda names: names.behavior("it", "margin", on=ON["probes"], by="size"),
            "behavior it = margin on probes by x",
        ),
        (
            lambda names: names.behavior("it", "margin", on=ON["probes"], where=np.zeros(4, dtype=bool), by="label"),
            "behavior it = margin on probes where label > 9 by label",
        ),
    ],
}


class Python:
    """Definitions by calls of methods."""

    @staticmethod
    def act(names: Names, definition: tuple[Callable[[Names], Any], str]) -> None:
        definition[0](names)


class Language:
    """Definitions by statements."""

    @staticmethod
    def act(names: Names, definition: tuple[Callable[[Names], Any], str]) -> None:
        session = Session()
        session.study = names  # type: ignore[assignment]
        run(definition[1], ON, session)


def meaning(names: Names, kind: str) -> tuple[dict[str, list[int]], dict[str, tuple[str, ...]]]:
    """Return the members of everything that is defined, and the families."""
    if kind == "stages":
        return {name: np.flatnonzero(mask).tolist() for name, mask in names.stages.items()}, names.families
    return {n: b.examples.positions.tolist() for n, b in names.behaviors.items()}, names.behavior_families


def expected(kind: str, form: str) -> tuple[dict[str, list[int]], dict[str, tuple[str, ...]]]:
    """Return what :func:`meaning` has to be beside the two neighbors, which no definition of ``it`` may touch."""
    meant = {name: list(members) for name, members in MEANT[kind][form].items()}
    neighbors = {"item": [0, 1], "it's[4]": [0, 1]}
    return neighbors | meant, {} if form == "single" else {"it": tuple(meant)}


def fresh(kind: str) -> Names:
    names = Names(steps())
    for name in ("item", "it's[4]"):
        if kind == "stages":
            names.stage(name, slice(2))
        else:
            names.behavior(name, "margin", on=ON["probes"], where=np.arange(4) < 2)
    return names


@pytest.fixture(params=["stages", "behaviors"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[Python, Language])
def by(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("old", ["single", "family", "other family"])
@pytest.mark.parametrize("new", ["single", "family", "other family"])
def test_a_definition_replaces_what_the_name_meant(by: Any, kind: str, old: str, new: str) -> None:
    names, definitions = fresh(kind), {"stages": STAGES, "behaviors": BEHAVIORS}[kind]
    by.act(names, definitions[old])
    assert meaning(names, kind) == expected(kind, old)
    by.act(names, definitions[new])
    assert meaning(names, kind) == expected(kind, new)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("old", ["single", "family"])
def test_a_refused_definition_changes_nothing(by: Any, kind: str, old: str, number: int) -> None:
    names, definitions = fresh(kind), {"stages": STAGES, "behaviors": BEHAVIORS}[kind]
    by.act(names, definitions[old])
    with pytest.raises(AadslError):
        by.act(names, REFUSED[kind][number])
    assert meaning(names, kind) == expected(kind, old)


def test_accents_may_be_typed_in_either_way() -> None:
    apart, together = "fru\u0308h", "fr\u00fch"
    names = Names(steps().assign({f"{apart}_x": ("step", np.arange(60))}))
    names.stage(apart, slice(3))
    names.behavior(apart, "margin", on=ON["probes"])
    assert names.stage_names(together) == [together] == names.stage_names([apart])
    assert names.behaviors_of(together)[0].name == together
    names.family("it", {apart: slice(3)})
    assert names.stage_names([f"it[{together}]", "it"]) == [f"it[{together}]"] * 2
    names.stage("some", f"steps where {together}_x < 3")
    assert int(names.stages["some"].sum()) == 3


def test_a_family_may_be_made_from_the_one_it_replaces() -> None:
    names = fresh("stages")
    names.family("it", {"a": slice(3), "b": slice(3, 60)})
    names.family("it", {"b": "it[a]", "a": "it[b]"})
    assert meaning(names, "stages")[0]["it[b]"] == [0, 1, 2]


def test_a_branch_may_redefine_without_the_other() -> None:
    names = fresh("stages")
    STAGES["family"][0](names)
    branch = names.branch()
    STAGES["single"][0](branch)
    assert meaning(names, "stages") == expected("stages", "family")
    assert meaning(branch, "stages") == expected("stages", "single")


def test_a_member_may_be_defined_anew_alone() -> None:
    names = fresh("stages")
    STAGES["family"][0](names)
    names.stage("it[0:40]", slice(1))
    assert names.families["it"] == ("it[0:40]", "it[40:60]")
    assert meaning(names, "stages")[0]["it[0:40]"] == [0]
