"""The explorer by hand, in a real JupyterLab without the internet. The tests go on from each other."""

import json
import statistics

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect

from tests.notebook import lab

pytestmark = pytest.mark.browser


def program(recorded):
    return (
        f'load "{recorded.path}" with model=net, loss=loss_fn, data=digits, device="cpu"\n'
        'stage b = steps where tag == "b"\n'
        "stages source by tag\nbehavior seven = log_likelihood(target=7) on test\nbehavior right = loss on test\n"
        "score b, source on seven, right\n"
    )


@pytest.fixture(scope="module")
def explored(page, address, root, recorded):
    """An explorer with steps 5 to 12 brushed, in a saved notebook."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [lab.WITH_RUNS, f"%%aascore --explore\n{program(recorded)}"]
    book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    book.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(book, root / "explorer.ipynb")
    book = lab.Notebook(page, address).open("explorer.ipynb")
    for _ in range(2):  # run again, as people do: the explorer of the first time is shown no more
        book.run_all()
        page.wait_for_selector(".aadsl-explorer canvas")
        expect(page.locator(".aadsl-statement")).to_have_text("stage picked = steps")  # it is drawn
    return book


def test_brush_moves_the_numbers_at_once(explored, page):
    """By the next frame, so without the kernel. A busy machine stretches milliseconds: they are printed."""
    taken, changes = explored.brush(20)
    print(f"brush to effect: {statistics.median(taken):.0f} ms, {max(taken):.0f} ms at worst")
    assert changes > 5
    expect(page.locator(".aadsl-statement")).to_contain_text("stage picked = steps[")


def test_a_redraw_leaves_what_is_being_typed(explored, page):
    start, stop = page.locator(".aadsl-explorer input[type=number]").all()
    for field, value in ((start, "5"), (stop, "99")):
        field.fill(value)
        page.evaluate(
            "document.querySelector('.aadsl-explorer input[size]').dispatchEvent(new Event('input'));"
            "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
        )
        page.keyboard.press("Enter")
    expect(page.locator(".aadsl-statement")).to_have_text("stage picked = steps[5:24]")
    assert (start.input_value(), stop.input_value()) == ("5", "24")  # 99 is more than there are


def test_keys_select_and_the_sums_are_right(explored, page, answered):
    page.locator(".aadsl-explorer input[type=number]").nth(1).fill("12")
    page.keyboard.press("Enter")
    page.locator(".aadsl-explorer canvas").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator(".aadsl-statement")).to_have_text("stage picked = steps[6:12]")
    steps = answered.session.answers[-1].with_steps()["step_effect"]
    expected = float(steps.sel(behavior="seven", step=slice(6, 11)).sum())
    shown = page.locator(".aadsl-effects tbody tr", has_text="seven").locator("td").nth(1).inner_text()
    assert lab.number(shown) == pytest.approx(expected, rel=lab.DIGITS)
    assert shown.split()[1] == ("helped" if expected > 0 else "hurt")


def test_each_number_says_how_far_to_trust_it(explored, page):
    note = page.locator(".aadsl-effects tbody tr").first.locator(".aadsl-trust").first
    expect(note).to_have_text("low trust")  # these steps were compared with nothing yet
    assert "estimated" in note.get_attribute("title")
    expect(page.locator(".aadsl-panels figcaption").first).to_contain_text("low trust")


def test_conditions_complain_complete_and_filter(explored, page):
    box = page.locator(".aadsl-where input")
    box.fill('tga == "b"')
    expect(page.locator(".aadsl-mistake")).to_contain_text('did you mean "tag"')
    explored.picture("explorer-mistake")
    box.fill("")
    box.press_sequentially("ta")
    page.wait_for_selector(".aadsl-completions li:visible")
    explored.picture("explorer-completion")
    hidden = "input => { input.dispatchEvent(new Event('input')); return input.getAttribute('aria-expanded'); }"
    assert box.evaluate(hidden) == "false", "what was offered for other text cannot be taken"
    page.wait_for_selector(".aadsl-completions li:visible")
    page.keyboard.press("Enter")
    expect(box).to_have_value("tag")
    box.press_sequentially(' == "b"')
    page.keyboard.press("Escape")
    expect(page.locator(".aadsl-count")).to_have_text("2 of 24 steps")


def test_exact_answer_compare_and_new_cell(explored, page):
    page.get_by_role("button", name="Keep as B").click()
    page.locator(".aadsl-explorer").get_by_role("button", name="Exact answer").click()
    page.wait_for_selector(".aadsl-effects th:text-is('exact')")
    exact = page.locator(".aadsl-effects tbody tr").first.locator("td").nth(2).locator(".aadsl-trust")
    assert "trained again" in exact.get_attribute("title")
    page.get_by_text("The steps one by one").click()
    page.wait_for_selector(".aadsl-steps tbody tr")
    expect(page.locator(".aadsl-steps tbody tr")).to_have_count(2)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".aadsl-explorer").get_by_role("button", name="Copy").click()
    page.get_by_text("copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".aadsl-statement").inner_text()
    cells = page.locator(".jp-CodeCell").count()
    page.locator(".aadsl-explorer").get_by_role("button", name="New cell").click()
    page.wait_for_function(f"document.querySelectorAll('.jp-CodeCell').length === {cells + 1}")
    page.locator(".aadsl-explorer").scroll_into_view_if_needed()
    explored.both_themes("explorer")


def test_it_survives_saving(explored, page, address, root):
    path = root / "explorer.ipynb"

    def with_the_last_picture():  # it follows a second after the last change
        explored.save(path)
        saved = json.loads(path.read_text(encoding="utf-8"))
        pictured = "steps[6:12] where tag" in json.dumps(saved["cells"][1]["outputs"])
        return saved if pictured and "widgets" in saved["metadata"] else None

    saved = lab.until(with_the_last_picture)
    sources = ["".join(cell["source"]) for cell in saved["cells"]]
    assert 'stage picked = steps[6:12] where tag == "b"' in sources[2]
    assert path.stat().st_size < 1_000_000
    kept = saved["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert sum("_made_by" in one["state"] for one in kept.values()) == 1  # the one that is shown
    # Reopened when its kernel is gone: the new one knows nothing of it, and the sums need none.
    lab.end_kernels(address)
    book = lab.Notebook(page, address).open("explorer.ipynb")
    page.wait_for_selector(".aadsl-explorer canvas")
    expect(page.locator(".aadsl-statement")).to_have_text('stage picked = steps[6:12] where tag == "b"')
    expect(page.locator(".vega-embed").last).to_be_hidden()  # the picture gives way to the explorer
    _, changes = book.brush(20)
    assert changes > 2  # few: the condition leaves every third step
    book.picture("reopened")


def test_where_no_widget_may_run_the_picture_is_there(explored, page, address, root):
    saved = json.loads((root / "explorer.ipynb").read_text(encoding="utf-8"))
    saved["metadata"].pop("widgets", None)  # and written by hand, so JupyterLab does not trust it
    (root / "pictures.ipynb").write_text(json.dumps(saved), encoding="utf-8")
    book = lab.Notebook(page, address).open("pictures.ipynb")
    page.wait_for_selector(".vega-embed svg")
    expect(page.locator(".vega-embed svg").last).to_contain_text("steps[")
    book.picture("reopened-untrusted")


def test_exported_page_shows_the_pictures(explored, page, root):
    body, _ = HTMLExporter().from_filename(str(root / "explorer.ipynb"))
    (root / "explorer.html").write_text(body, encoding="utf-8")
    aborted = list(page.aborted)
    page.goto(f"file://{root}/explorer.html")
    pictures = page.locator(".jp-OutputArea img")
    assert pictures.count() >= 1
    assert pictures.last.evaluate("image => image.complete && image.naturalWidth") > 500
    explored.picture("exported", full_page=True)
    page.aborted[:] = aborted  # nbconvert's own template asks for MathJax; the pictures do not need it
