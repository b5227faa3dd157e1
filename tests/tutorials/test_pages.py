"""The README and the pages of the tutorials: their tables are those that were measured, their pictures of notebooks."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import get_args

import pytest

from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS
from aadsl.study.trust import Level
from tests.tutorials.notebooks import TUTORIALS

SCRIPT = runpy.run_path(str(TUTORIALS / "pages.py"))
PAGES: list[Path] = SCRIPT["pages"]()
named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@named
def test_its_tables_are_those_that_were_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert SCRIPT["written"](page) == text, "say: make figures PART=pages"
    left = SCRIPT["INCLUDED"].sub("", text)
    assert not re.search(r"\| *[+−-]?\d+(\.\d+|(\.\d+)? *[×%]) *\|", left), "figures without the file they are from"


def test_the_readme_quotes_what_it_costs() -> None:
    assert PAGES[0].name == "README.md" and "<!-- cost.md: costs -->\n*20" in PAGES[0].read_text(encoding="utf-8")


@named
def test_a_planted_disagreement_is_seen(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for quoted in SCRIPT["INCLUDED"].finditer(text):
        digit = text.rindex(re.findall(r"\d", quoted[0])[-1], quoted.start(), quoted.end())
        planted = page.with_name(f"planted-{page.name}")
        other = text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :]
        assert SCRIPT["written"](planted, other) == text != other


def test_every_table_is_told_with_its_day_and_machine() -> None:
    stamps = re.findall(r"-->\n\*(.*?)\* \(\[", "".join(page.read_text(encoding="utf-8") for page in PAGES))
    assert len(stamps) >= 6
    whole = re.compile(r"20\d\d-\d\d-\d\d, .*PyTorch \d.*(cores|thread|CPU)")
    assert [stamp for stamp in stamps if not whole.match(stamp)] == []


def test_pages_that_tell_what_to_do_draw_it() -> None:
    """A figure decides: which trust, which intervention, which estimator; what it says is in the language."""
    figures = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
    drawn = {page.stem: "".join(figures.findall(page.read_text(encoding="utf-8"))) for page in PAGES}
    assert {*get_args(Level)} <= {*re.findall(r"(\w+)\n", drawn["trust"])}
    assert {*re.findall(r"under (\w+)\(", drawn["questions"])} == {*INTERVENTIONS}
    assert {*re.findall(r"(?:using |none: |, using )(\w+)\(", drawn["questions"])} == {*ESTIMATORS}
    assert {*re.findall(r"(\w+)\(\)", drawn["scale"])} <= {*ESTIMATORS}


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
