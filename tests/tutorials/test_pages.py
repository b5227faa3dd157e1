"""The pages beside the tutorials: their tables are those that were measured, their pictures those of the notebooks."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.tutorials.notebooks import TUTORIALS

SCRIPT = runpy.run_path(str(TUTORIALS / "pages.py"))
PAGES: list[Path] = SCRIPT["pages"]()
named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@named
def test_its_tables_are_those_that_were_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert SCRIPT["written"](text) == text, "say `make tutorials`"
    left = SCRIPT["INCLUDED"].sub("", text)
    assert not re.search(r"\| *[+−-]?\d+(\.\d+|(\.\d+)? *[×%]) *\|", left), "figures without the file they are from"


@named
def test_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [*re.findall(r"\]\(([^)#]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_learning_path_shows_every_notebook() -> None:
    path = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    notebooks = sorted(TUTORIALS.glob("[0-9][0-9]-*.ipynb"))
    assert len(notebooks) == len(SCRIPT["CHARTS"]) == 9
    assert re.findall(r"\]\((\d\d-[^)]+\.ipynb)\)", path) == [notebook.name for notebook in notebooks]
    for number in SCRIPT["CHARTS"]:
        picture = (TUTORIALS / "pictures" / f"{number}.png").read_bytes()
        assert f"pictures/{number}.png" in path and len(picture) <= 60_000
        assert picture == SCRIPT["picture"](number), "say `make tutorials`"
