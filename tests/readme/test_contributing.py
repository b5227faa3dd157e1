"""CONTRIBUTING.md and the page of the architecture speak of what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aadsl.behaviors import BEHAVIORS
from aadsl.charts import CHARTS
from aadsl.dynamics import DYNAMICS
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS
from aadsl.propagation import CURVATURES
from aadsl.statements import STATEMENTS
from tests.architecture import LEVEL

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "aadsl/README.md")}
TABLES = [DYNAMICS, INTERVENTIONS, ESTIMATORS, BEHAVIORS, CURVATURES, CHARTS, STATEMENTS]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_is_there(page: str) -> None:
    named = re.findall(r"`((?:aadsl|tests|grammar|jupyter_ext)/[\w./]+)`", PAGES[page])
    folder = (ROOT / page).parent
    linked = [folder / link for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[page])]
    paths = [ROOT / path for path in named if not re.search(r"NAME|LIBRARY", path)] + linked
    assert len(paths) >= 3
    assert [str(path) for path in paths if not path.exists()] == []


def test_every_command_is_there() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {target for text in PAGES.values() for target in re.findall(r"\bmake ([a-z]+)", text)}
    assert len(named) >= 6 and named <= {*targets}


def test_the_house_has_all_its_rooms() -> None:
    tree = PAGES["aadsl/README.md"].split("## The house")[1].split("`aadsl/__init__.py`")[0]
    assert set(re.findall(r"^    (?:\.\./)?(\w+)/", tree, re.MULTILINE)) == set(LEVEL) - {"aadsl"} | {"grammar"}


def test_each_kind_of_part_is_added_as_the_page_says() -> None:
    rows = re.findall(
        r"^\| (\w+) \| `(aadsl/\w+)/\w+\.py`.*? \| (?:`([\w/.]+)`|none)", PAGES["CONTRIBUTING.md"], re.MULTILINE
    )
    added = re.findall(r"^def test_(?:an?)_(\w+)\(", (ROOT / "tests" / "test_additions.py").read_text(), re.MULTILINE)
    assert {kind for kind, _, _ in rows} == set(added)
    for _, folder, table in rows:
        assert (ROOT / folder).is_dir()
        assert not table or re.search(r"^[A-Z]+: .*= \{$", (ROOT / table).read_text(), re.MULTILINE), table
    assert len(rows) == len(TABLES) + 1  # an integration has no table
