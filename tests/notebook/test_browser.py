"""A real JupyterLab in headless Chromium, without the internet: what a person would see.

Where there is a folder ``screenshots/``, pictures are taken for a person to look at.
"""

import shutil

import pytest
from bs4 import BeautifulSoup

from jupyter_ext.exporter import AascoreExporter
from tests.notebook import lab
from tests.notebook.conftest import ROOT

pytestmark = pytest.mark.browser


def test_tutorial_from_start_to_end(page, address, root):
    """Open, run all, charts visible; saved and reopened with a new kernel: still visible; exported: still visible."""
    (source,) = (ROOT / "tutorials").glob("09*.ipynb")
    folder = root / "tutorials"
    folder.mkdir()
    shutil.copy(source, folder / "09.ipynb")
    book = lab.Notebook(page, address).open("tutorials/09.ipynb")
    book.run_all()
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
    charts = page.locator(".vega-embed svg")
    page.wait_for_function("document.querySelectorAll('.vega-embed svg').length >= 3")
    drawn = charts.count()
    for k, theme in ((0, "Dark"), (1, "Light")):
        charts.nth(k).scroll_into_view_if_needed()
        book.theme(theme)
        book.picture(f"tutorial-09-{theme.lower()}")
    book.save(folder / "09.ipynb")
    lab.end_kernels(address)
    lab.Notebook(page, address).open("tutorials/09.ipynb")
    page.wait_for_selector(".vega-embed svg")
    body, _ = AascoreExporter().from_filename(str(folder / "09.ipynb"))
    told = [image["alt"] for image in BeautifulSoup(body, "html.parser").select("img")]
    assert sum(alt.startswith("[chart] ") for alt in told) >= drawn


def test_every_chart_is_drawn(notebook, page):
    from aadsl.charts import CHARTS

    options = "verified=True, examples=40, trust=True, shares=True"
    cells = [f"CHARTS[{name!r}]().draw(answer({options}))" for name in CHARTS]
    many = "CHARTS['timeline']().draw(answer(steps=100_000, behaviors=('backdoor',)))"
    book = notebook("charts", lab.WITH_CHARTS, *cells, many)
    book.run_all()
    page.wait_for_function(f"document.querySelectorAll('.vega-embed svg').length === {len(cells) + 1}")
    told = page.locator(".vega-embed svg").evaluate_all(
        "all => all.map(svg => svg.closest('[aria-label]')?.getAttribute('aria-label') ?? '')"
    )
    assert sum("largest" in one and "smallest" in one for one in told) == len(cells)  # all but the schedule
    ink = "() => getComputedStyle(document.querySelector('.vega-embed svg .role-title-text text')).fill"
    book.theme("Dark")
    dark = page.evaluate(ink)
    book.theme("Light")
    page.wait_for_function(f"dark => ({ink})() !== dark", arg=dark)  # the chart follows the theme
    page.set_viewport_size({"width": 1280, "height": 4200})
    book.both_themes("charts")
    page.set_viewport_size({"width": 1280, "height": 1400})
    tooltip = lab.until(lambda: tooltip_over_the_first_chart(page))
    assert all(word in tooltip for word in ("step", "effect", "tag", "lr", "loss"))
    assert "badnet" in tooltip or "clean" in tooltip  # whichever step the mouse rests on


def tooltip_over_the_first_chart(page):
    """Move the mouse over a bar; the page may just be moving the chart, so that the mouse misses it."""
    # The panel alone: what is written over it takes more or less room.
    box = page.locator(".vega-embed svg .role-scope .background").first.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.move(box["x"] + 380, box["y"] + 90)
    shown = page.locator("#vg-tooltip-element.visible")
    return shown.inner_text() if shown.count() else ""


def test_colors_completion_and_caret(notebook, page, extension):
    if extension:
        pytest.skip(f"the JupyterLab extension cannot be built: {extension}")
    mistaken = '%%aascore\nstage x = steps[0:3] where tga == "b" # why\nscore x on y'
    book = notebook("colors", lab.WITH_LANGUAGE, mistaken, "%%aascore\nst")
    # Before anything ran: our words are keywords, and Python's are not.
    cell = page.locator(".jp-CodeCell").nth(1)
    keywords = cell.locator(".cm-line span").filter(has_text="stage")
    keywords.first.wait_for()
    color = "element => getComputedStyle(element).color"
    assert keywords.first.evaluate(color) == cell.locator(".cm-line span", has_text="where").first.evaluate(color)
    assert keywords.first.evaluate(color) != cell.locator(".cm-line span", has_text="# why").first.evaluate(color)
    book.run_all()
    said = cell.locator(".jp-OutputArea-output").last.inner_text()
    assert "^" in said
    assert "Traceback" not in said
    last = page.locator(".jp-CodeCell").nth(2)
    last.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    page.keyboard.press("Tab")
    page.locator(".jp-Completer-item", has_text="stage").first.wait_for()
    offered = page.locator(".jp-Completer-item").all_inner_texts()
    assert not any("staticmethod" in text for text in offered)
    book.both_themes("colors")
    page.keyboard.press("Escape")


def test_help_on_a_call_under_the_cursor(notebook, page):
    book = notebook("help", lab.WITH_LANGUAGE, "%%aascore\nscore a on b using linearized(")
    book.run_all()
    page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
    page.keyboard.press("Control+End")
    page.keyboard.press("Shift+Tab")
    page.locator(".jp-Tooltip", has_text="read").wait_for()
    book.picture("help")
    page.keyboard.press("Escape")


def test_files_of_the_language_are_colored(page, address, root, extension):
    if extension:
        pytest.skip(f"the JupyterLab extension cannot be built: {extension}")
    (root / "program.aascore").write_text("# why\nstage late = steps[-3:] where lr < 1e-3\n")
    page.goto(f"{address}/doc/tree/program.aascore?reset")
    keyword = page.locator(".cm-line span", has_text="stage").first
    keyword.wait_for()
    color = "element => getComputedStyle(element).color"
    assert keyword.evaluate(color) == page.locator(".cm-line span", has_text="where").first.evaluate(color)
    assert keyword.evaluate(color) != page.locator(".cm-line span", has_text="# why").first.evaluate(color)
