"""Tables of answers in a real JupyterLab: sorted by a click or a key, filtered by a text, also in a saved notebook."""

import nbformat
import numpy as np
import pandas as pd
import pytest

from aadsl.statements.frames import tidy
from jupyter_ext.answers import ROWS, answer_html, answer_shown
from jupyter_ext.views import frame_html
from tests.charts.answers import many_stages
from tests.notebook import lab

pytestmark = pytest.mark.browser

SHOWN = "document.querySelector('.aadsl-table').querySelectorAll('tbody tr:not([hidden]) th')"


@pytest.fixture
def data():
    answer = many_stages(60)
    effects = answer["effect"].values.copy()
    effects[7] = np.nan  # the last row of its column, whichever way
    return answer.assign(effect=(("stage", "behavior"), effects))


@pytest.fixture
def reopened(page, address, root, extension, data):
    """A notebook that another person saved: its outputs are not trusted, and no kernel runs."""
    if extension:
        pytest.skip(f"the JupyterLab extension cannot be built: {extension}")
    part = data.isel(stage=slice(0, 30))
    shown = answer_html(part), frame_html(tidy(part)), frame_html(pd.DataFrame({"of others": [1, 2]}))
    outputs = [nbformat.v4.new_output("display_data", {"text/html": html}) for html in shown]
    book = nbformat.v4.new_notebook(metadata=lab.METADATA, cells=[nbformat.v4.new_code_cell("score", outputs=outputs)])
    nbformat.write(book, root / "tables.ipynb")
    return lab.Notebook(page, address).open("tables.ipynb")


def rows(page):
    return page.evaluate(f"[...{SHOWN}].map(cell => cell.title)")


def test_rows_are_sorted_and_picked(reopened, page, data):
    answer = answer_shown(data.isel(stage=slice(0, 30)))
    table = page.locator(".aadsl-table").first
    heads = table.locator("thead tr").last.locator("th")
    effect = heads.filter(has_text="effect").first
    button = effect.locator("button")
    button.wait_for()
    as_it_came = rows(page)
    assert as_it_came == answer.stages
    effects = dict(zip(data["stage"].values, data["effect"].values[:, 0], strict=True))
    known = [name for name in as_it_came if np.isfinite(effects[name])]
    lacking = [name for name in as_it_came if name not in known]
    shown = dict(zip(answer.stages, map(lab.number, answer.groups[0][1]["effect"].replace("", "0")), strict=True))
    assert len(lacking) == 1

    def order(sign):
        return sorted(known, key=lambda name: sign * shown[name]) + lacking  # equal ones as they came

    # By the mouse, by the keys, which neither run nor edit the cell, and back.
    button.click()
    assert effect.get_attribute("aria-sort") == "descending" and rows(page) == order(-1)
    page.keyboard.press("Enter")
    assert effect.get_attribute("aria-sort") == "ascending" and rows(page) == order(1)
    assert button.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    assert button.evaluate("node => getComputedStyle(node).cursor") == "pointer"
    reopened.picture("tables-sorted")
    page.keyboard.press("Space")
    assert effect.get_attribute("aria-sort") is None and rows(page) == as_it_came
    assert page.locator(".jp-Notebook.jp-mod-editMode").count() == 0

    # One column at a time; names by their words, numbers in them by their size.
    button.click()
    table.get_by_role("button", name="stage", exact=True).click()
    assert table.locator("[aria-sort]").count() == 1
    assert rows(page) == sorted(as_it_came, key=lambda name: int(name.split()[-1]))

    field = table.locator("input")
    field.fill(as_it_came[3].upper())
    assert rows(page) == [as_it_came[3]] and table.get_by_role("status").inner_text() == "1 of 30"
    page.keyboard.press("x")  # would cut the cell
    assert page.locator(".jp-CodeCell").count() == 1 and rows(page) == []
    field.fill("")
    assert len(rows(page)) == 30
    reopened.both_themes("tables")


def test_a_frame_of_pandas_is_sorted_and_picked_alike(reopened, page, data):
    frame = page.locator("table.dataframe").first
    effects = tidy(data.isel(stage=slice(0, 30)))["effect"].round(6)
    frame.get_by_role("button", name="effect", exact=True).click()
    head = frame.locator("thead th").all_inner_texts().index("effect")
    column = frame.locator(f"tbody td:nth-child({head + 1})")
    shown = [float(text) for text in column.all_inner_texts() if text]
    assert shown == sorted(effects.dropna(), reverse=True) and len(shown) < len(effects)
    frame.locator("input").fill("window 7")
    assert frame.locator("tbody tr:not([hidden])").count() == 2
    assert frame.locator("thead th").first.locator("button").count() == 0
    assert page.locator("table.dataframe").last.locator("button").count() == 0, "nobody else's tables are touched"


def test_without_the_extension_nothing_looks_as_if_one_could_click(data):
    page = answer_html(data)
    assert not any(word in page for word in ("<button", "<input", "cursor", "tabindex", "aria-sort", "onclick"))
    assert page.count("<tr>") == 2 + ROWS
