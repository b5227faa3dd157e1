"""The explorer by hand, in a real JupyterLab without the internet. The tests go on from each other."""

import json
import re
import statistics

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect

from jupyter_ext.explorer import explore
from jupyter_ext.exporter import AascoreExporter
from tests.charts.answers import answer
from tests.charts.test_hostile_texts import HOSTILE
from tests.notebook import lab

pytestmark = pytest.mark.browser


EXPLORED = "from jupyter_ext.explorer import explore"
# What the kernel says of examples that are such texts, with such labels.
SEND_EXAMPLES = """from tests.charts.test_hostile_texts import HOSTILE
shown = [{{"text": text, "label": text, "number": text, "step": 3, "loss": 1.5}} for text in HOSTILE]
labels = {{"name": HOSTILE[0], "counts": [[text, 1, 2] for text in HOSTILE], "more": 1, "run": 9}}
found = {{"uses": 9, "looked": 9, "why": HOSTILE[0], "examples": shown, "labels": labels}}
hostile.send({{"kind": "examples", "key": {key!r}, "found": found}})"""


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
        expect(page.locator(".aadsl-statement")).to_contain_text("nothing is selected")  # it is drawn
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


def test_keys_select_and_never_reach_the_notebook(explored, page):
    page.locator(".aadsl-explorer input[type=number]").nth(1).fill("12")
    page.keyboard.press("Enter")
    canvas = page.locator(".aadsl-explorer canvas").first
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator(".aadsl-statement")).to_have_text("stage picked = steps[6:12]")
    cells = page.locator(".jp-CodeCell").count()
    places = [canvas, page.get_by_role("button", name="Select all"), page.locator(".aadsl-explorer summary")]
    for place in [*places, page.get_by_label("color the steps by")]:
        place.focus()
        assert (
            place.evaluate("node => node.matches(':focus-visible') && getComputedStyle(node).outlineStyle") == "solid"
        )
        for key in ("x", "d", "d", "b", "a", "m", "z", "j", "0", "0", "Shift+Enter", "Control+Enter"):
            page.keyboard.press(key)
    page.locator(".aadsl-explorer summary").evaluate("summary => { summary.parentElement.open = false }")
    canvas.focus()
    page.keyboard.press("Escape")
    expect(page.locator(".aadsl-statement")).to_contain_text("nothing is selected")
    assert page.locator(".jp-CodeCell").count() == cells
    assert "jp-mod-editMode" not in page.locator(".jp-Notebook").get_attribute("class")


def test_the_exact_answer_follows_and_takes_the_place_of_the_estimate(explored, page, recorded):
    for field, value in enumerate(("6", "12")):
        page.locator(".aadsl-explorer input[type=number]").nth(field).fill(value)
        page.keyboard.press("Enter")
    expect(page.locator(".aadsl-statement")).to_have_text("stage picked = steps[6:12]")
    cell = page.locator(".aadsl-effects tbody tr", has_text="seven").locator("td").nth(1)
    expect(cell).to_contain_text("✓ exact")  # nobody pressed a button
    inputs = recorded.data[0][:20]
    truth = [recorded.retrained(left)(inputs).log_softmax(-1)[:, 7].mean().item() for left in ([], range(6, 12))]
    assert lab.number(cell.inner_text()) == pytest.approx(truth[0] - truth[1], rel=lab.DIGITS)
    assert cell.inner_text().split()[1] == ("helped" if truth[0] > truth[1] else "hurt")
    expect(page.locator(".aadsl-exact")).to_contain_text("exact, by retraining")


def test_each_number_says_how_far_to_trust_it(explored, page, answered):
    shown = page.locator(".aadsl-effects tbody tr").first
    exact = shown.locator("td").nth(1)
    assert "trained again" in exact.locator(".aadsl-trust").get_attribute("title")
    steps = answered.session.answers[-1].with_steps()["step_effect"]
    expected = float(steps.sel(behavior="seven", step=slice(6, 11)).sum())
    estimate = exact.get_attribute("title").split("the estimate was ")[1]
    assert lab.number(estimate) == pytest.approx(expected, rel=lab.DIGITS)
    note = page.locator(".aadsl-panels figcaption").first.locator(".aadsl-trust")
    expect(note).to_have_text("low trust")  # single steps were compared with nothing yet
    assert "estimated" in note.get_attribute("title")


def test_conditions_complain_complete_and_filter(explored, page):
    box = page.locator(".aadsl-where input")
    box.fill('tga == "b"')
    expect(page.locator(".aadsl-where .aadsl-mistake")).to_contain_text('did you mean "tag"')
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


def test_examples_of_the_selection_and_of_the_step_under_the_pointer(explored, page, recorded, answered):
    labels = page.locator(".aadsl-examples table")
    expect(labels.locator("thead")).to_contain_text("whole run")
    counted = recorded.data[1][[*range(80, 90), *range(110, 120)]].bincount(minlength=10).tolist()
    expect(labels.locator("tbody tr").nth(7).locator("td").first).to_contain_text(f"{counted[7]} (")
    images = page.locator(".aadsl-examples img")
    expect(images).to_have_count(12)
    assert images.evaluate_all("all => all.every(image => image.complete && image.naturalWidth === 56)")
    losses = [
        float(word) for word in page.locator(".aadsl-examples").inner_text().replace("−", "-").split() if "." in word
    ]
    assert losses == sorted(losses, reverse=True) and len(losses) == 12
    page.locator(".aadsl-explorer canvas").first.hover(position={"x": 400, "y": 60})
    expect(page.locator(".aadsl-card img")).to_have_count(4)
    explored.picture("explorer-hover")
    page.mouse.move(0, 0)
    # From the run to the step that hurt most, whose examples then are shown, and back, and back.
    before = page.locator(".aadsl-statement").inner_text()
    page.locator(".aadsl-examples .aadsl-step").first.click()  # of the worst example
    expect(page.locator(".aadsl-count")).to_have_text("1 of 24 steps")
    page.get_by_role("button", name="Select all").click()
    effects = answered.session.answers[-1].with_steps()["step_effect"].sel(behavior="seven").values
    worst = page.locator(".aadsl-explorer .aadsl-bar:has-text('hurt seven most') .aadsl-step")
    expect(worst.first).to_contain_text(str(effects.argmin()))
    shown = [int(text.split()[0]) for text in worst.all_inner_texts()]
    assert shown == [t for t in np.argsort(effects)[:6].tolist() if effects[t] < 0]
    worst.first.click()
    expect(page.locator(".aadsl-statement")).to_contain_text(f"steps[{shown[0]}:{shown[0] + 1}]")
    expect(images).to_have_count(10)
    explored.picture("explorer-step")
    page.get_by_role("button", name="← back").click()
    expect(page.locator(".aadsl-count")).to_have_text("24 of 24 steps")
    page.get_by_role("button", name="← back").click()
    expect(page.locator(".aadsl-statement")).to_have_text(before)


def test_wheel_keys_and_overview_zoom_and_all_canvases_keep_in_line(explored, page):
    canvases = page.locator(".aadsl-explorer canvas:not(.aadsl-overview)")
    assert canvases.count() == 5  # two behaviors, loss, and the learning rates of two groups
    assert canvases.evaluate_all("all => new Set(all.map(one => one.getBoundingClientRect().left)).size") == 1

    def axis():  # what is drawn of the axis of steps
        return canvases.first.evaluate("canvas => canvas.toDataURL()")

    whole = axis()
    canvases.nth(2).hover(position={"x": 400, "y": 20})
    page.mouse.wheel(0, -200)  # without the focus the page scrolls
    assert axis() == whole
    canvases.nth(2).focus()
    canvases.nth(2).hover(position={"x": 400, "y": 20})
    page.mouse.wheel(0, -200)
    page.wait_for_function(
        "before => document.querySelector('.aadsl-explorer canvas').toDataURL() !== before", arg=whole
    )
    explored.picture("explorer-zoomed")
    near = axis()
    page.keyboard.press("+")
    page.wait_for_function(
        "before => document.querySelector('.aadsl-explorer canvas').toDataURL() !== before", arg=near
    )
    page.locator(".aadsl-overview").dblclick()
    page.wait_for_function(
        "before => document.querySelector('.aadsl-explorer canvas').toDataURL() === before", arg=whole
    )


def test_canvases_follow_the_theme(explored, page):
    """The darkest and the lightest of what is drawn without the band of the selection: text and lines."""
    ink = """() => {
      const canvas = document.querySelector('.aadsl-strip'), found = [];
      const { data } = canvas.getContext('2d').getImageData(0, 0, 60 * devicePixelRatio, canvas.height);
      for (let k = 0; k < data.length; k += 4) if (data[k + 3] > 200) found.push(data[k]);
      return [Math.min(...found), Math.max(...found)];
    }"""
    assert max(page.evaluate(ink)) < 80  # dark on light
    explored.theme("Dark")
    page.wait_for_function(f"() => ({ink})()[0] > 180")
    explored.theme("Light")
    page.wait_for_function(f"() => ({ink})()[1] < 80")


def test_a_bar_of_another_chart_selects_its_stage(explored, page):
    before = page.locator(".aadsl-statement").inner_text()
    explored.run_cell("%aascore plot bars of seven")
    chart = page.locator(".jp-CodeCell").last.locator(".vega-embed svg")
    expect(chart).to_contain_text("source[a]")
    bars = chart.locator(".mark-rect path")
    names = bars.evaluate_all("all => all.map(bar => bar.__data__?.datum?.stage)")
    bars.nth(names.index("source[a]")).click()
    expect(page.locator(".aadsl-statement")).to_have_text("stage picked = source[a]")
    explored.execute("notebook:delete-cell")
    page.locator(".aadsl-where input").fill('tag == "b"')
    page.get_by_label("select the steps of a stage").select_option("")
    for field, value in enumerate(("6", "12")):
        page.locator(".aadsl-explorer input[type=number]").nth(field).fill(value)
        page.keyboard.press("Enter")
    expect(page.locator(".aadsl-statement")).to_have_text(before)


def test_texts_of_a_recording_stay_texts(explored, page, wrong):
    explored.run_cell(
        f"from tests.charts.test_hostile_texts import ANSWER\n{EXPLORED}\nhostile = explore(ANSWER)\nhostile"
    )
    here = page.locator(".aadsl-explorer").last
    expect(here.locator("canvas").first).to_be_visible()
    for name in ("tag", "__proto__", "constructor", "</script><img src=x onerror=alert(1)>"):
        here.get_by_label("color the steps by").select_option(name)
    here.get_by_label("color the steps by").select_option("tag")
    expect(here.locator(".aadsl-legend")).to_contain_text("<script>alert(1)</script>")  # it is drawn
    for k in range(here.locator(".aadsl-legend button").count()):
        button = here.locator(".aadsl-legend button").nth(k)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(here.locator(".aadsl-count")).to_have_text(re.compile("^[1-9]"))
    here.get_by_role("button", name="Keep to compare").click()
    here.get_by_role("button", name="Select nothing").click()
    here.get_by_label("select the steps of a stage").select_option(index=1)
    here.locator("summary").click()
    expect(here.locator(".aadsl-steps tbody tr").first).to_be_visible()
    here.locator("canvas").first.hover(position={"x": 300, "y": 60})
    expect(here.locator(".aadsl-card")).to_be_visible()
    explored.picture("explorer-hostile")
    key = here.locator(".aadsl-statement").inner_text().removeprefix("stage picked = ")
    explored.run_cell(SEND_EXAMPLES.format(key=key))
    expect(here.locator(".aadsl-examples q")).to_have_count(len(HOSTILE))
    assert here.locator(".aadsl-examples q").all_text_contents() == [text or "?" for text in HOSTILE]
    cut = """node => [...node.querySelectorAll('*')].filter(one => one.scrollWidth > one.clientWidth + 1
      && one.clientWidth && getComputedStyle(one).overflowX !== 'hidden' && !one.closest('.aadsl-steps'))
      .map(one => one.outerHTML)"""
    size = page.viewport_size
    page.set_viewport_size({"width": 900, "height": size["height"]})
    assert here.evaluate(cut) == []  # the list of steps scrolls
    explored.picture("explorer-hostile-900")
    page.set_viewport_size(size)
    assert here.evaluate("node => node.querySelectorAll('img, script, svg').length") == 0
    assert not wrong
    page.mouse.move(0, 0)
    for _ in range(2):
        explored.execute("notebook:delete-cell")
    expect(page.locator(".aadsl-explorer")).to_have_count(1)


def test_a_few_large_steps_do_not_hide_the_others(explored, page):
    """How many of 60 bars are taller than 4 pixels, on the axis as it is and on an even one."""
    tall = """canvas => {
      const pen = canvas.getContext('2d'), ratio = devicePixelRatio, inner = canvas.clientWidth - 62 - 12;
      return Array.from({ length: 60 }, (_, t) => {
        const column = pen.getImageData((62 + (t + 0.5) * inner / 60) * ratio, 0, 1, canvas.height - 20 * ratio).data;
        return column.filter((alpha, k) => k % 4 === 3 && alpha > 200).length / ratio;
      }).filter(height => height > 4).length;
    }"""
    explored.run_cell(
        f"{EXPLORED}\nfrom tests.charts.test_compression import with_outlier\nexplore(with_outlier(1000))"
    )
    here = page.locator(".aadsl-explorer").last
    canvas = here.locator("canvas").first
    expect(here.locator("figcaption").first).to_contain_text("logarithmic axis")
    assert lab.until(lambda: canvas.evaluate(tall)) > 15
    explored.picture("explorer-squeezed")
    here.get_by_label("even axis").check()
    assert lab.until(lambda: canvas.evaluate(tall)) == 1
    expect(here.locator("figcaption").first).not_to_contain_text("logarithmic")
    explored.execute("notebook:delete-cell")
    expect(page.locator(".aadsl-explorer")).to_have_count(1)


def test_legend_stages_and_kept_selections(explored, page):
    statement, legend = page.locator(".aadsl-statement"), page.locator(".aadsl-legend")
    page.get_by_label("color the steps by").select_option("tag")
    legend.get_by_role("button", name="a", exact=True).click()
    expect(statement).to_have_text('stage picked = steps[6:12] where tag == "a"')
    page.get_by_role("button", name="Keep to compare").click()
    legend.get_by_role("button", name="a", exact=True).click()  # once more gives it up
    expect(statement).to_have_text("stage picked = steps[6:12]")
    page.get_by_role("button", name="Select nothing").click()
    page.get_by_label("select the steps of a stage").select_option("source[a]")
    expect(statement).to_have_text("stage picked = source[a]")
    expect(page.locator(".aadsl-count")).to_have_text("16 of 24 steps")
    page.get_by_role("button", name="Keep to compare").click()
    head = page.locator(".aadsl-effects thead th")
    expect(head).to_have_count(5)
    expect(page.locator(".aadsl-effects tbody tr").first.locator("td:has-text('✓ exact')")).to_have_count(3)
    page.get_by_role("button", name="forget B").click()
    expect(head).to_have_count(4)
    page.get_by_role("button", name='select steps[6:12] where tag == "a" again').click()
    expect(statement).to_have_text('stage picked = steps[6:12] where tag == "a"')
    page.get_by_label("color the steps by").select_option("stage")
    page.locator(".aadsl-where input").fill('tag == "b"')
    expect(page.locator(".aadsl-count")).to_have_text("2 of 24 steps")


def test_a_redraw_swallows_no_click_and_takes_no_focus(explored, page):
    """Such as when an answer comes from the kernel while the button of the mouse is down."""
    redraw = """async () => {
      document.querySelector('.aadsl-explorer').dispatchEvent(new Event('transitionend'));
      for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
    }"""
    page.get_by_label("color the steps by").select_option("tag")
    button = page.locator(".aadsl-legend").get_by_role("button", name="a", exact=True)
    button.hover()
    page.mouse.down()
    page.evaluate(redraw)
    page.mouse.up()
    expect(button).to_have_attribute("aria-pressed", "true")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(button).to_be_focused()
    page.get_by_label("color the steps by").select_option("stage")
    page.locator(".aadsl-where input").fill('tag == "b"')
    expect(page.locator(".aadsl-count")).to_have_text("2 of 24 steps")


def test_copies_and_new_cells_have_names(explored, page):
    name = page.get_by_label("name of the stage")
    name.fill("x = steps\u2003load y")
    expect(page.locator(".aadsl-mistake:visible")).to_contain_text("`my stage`")
    for button in ("Copy", "New cell"):
        expect(page.locator(".aadsl-explorer").get_by_role("button", name=button)).to_be_disabled()
    explored.picture("explorer-name")
    name.fill("picked")
    page.get_by_text("The steps one by one").click()
    page.wait_for_selector(".aadsl-steps tbody tr")
    expect(page.locator(".aadsl-steps tbody tr")).to_have_count(2)
    expect(page.locator(".aadsl-effects tbody tr").first.locator("td").nth(1)).to_contain_text("✓ exact")
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
    expect(page.locator(".aadsl-count")).to_have_text("2 of 24 steps")  # the condition holds
    first = page.locator(".aadsl-effects tbody tr").first.locator("td").nth(1)
    expect(first).to_contain_text("✓ exact")  # that of this very selection, which is known still
    book.picture("reopened")
    _, changes = book.brush(20)
    assert changes > 2  # few: the condition leaves every third step
    expect(first).to_contain_text("estimate")
    assert "exact" not in page.locator(".aadsl-exact").inner_text() + first.inner_text()
    says = {"run the cell again": ("Exact answer", "New cell")}
    for said, buttons in says.items():
        expect(page.locator(".aadsl-exact")).to_have_text(said)
        for name in buttons:
            button = page.locator(".aadsl-explorer").get_by_role("button", name=name)
            expect(button).to_be_disabled()
            assert button.get_attribute("title") == said
        for field in (page.locator(".aadsl-where input"), page.get_by_label("name of the stage")):
            expect(field).to_be_disabled()
            assert field.get_attribute("title") == said
    page.get_by_role("button", name="Select nothing").click()
    page.get_by_label("color the steps by").select_option("tag")
    page.locator(".aadsl-legend").get_by_role("button", name="b", exact=True).click()  # needs no kernel
    expect(page.locator(".aadsl-count")).to_have_text("8 of 24 steps")


def test_where_no_widget_may_run_the_picture_is_there(explored, page, address, root):
    saved = json.loads((root / "explorer.ipynb").read_text(encoding="utf-8"))
    saved["metadata"].pop("widgets", None)  # and written by hand, so JupyterLab does not trust it
    (root / "pictures.ipynb").write_text(json.dumps(saved), encoding="utf-8")
    book = lab.Notebook(page, address).open("pictures.ipynb")
    page.wait_for_selector(".vega-embed svg")
    expect(page.locator(".vega-embed svg").last).to_contain_text("steps[")
    brushes(page, page.locator(".vega-embed svg").last)
    book.both_themes("reopened-untrusted")


def brushes(page, chart):
    """A drag over the chart and a click in its legend change the sum that stands over it."""
    chart.scroll_into_view_if_needed()
    said = chart.get_by_text(re.compile("steps?, .* to .*: ")).first
    before = said.text_content()
    box = chart.locator(".mark-rule.role-mark").first.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 15, steps=4)
    page.mouse.up()
    expect(said).not_to_have_text(before)
    brushed = said.text_content()
    chart.locator(".role-legend-label text").first.click()
    expect(said).not_to_have_text(brushed)


def test_a_saved_page_can_be_brushed(page, root):
    """By itself: there is no JupyterLab around it."""
    aborted = list(page.aborted)
    explore(answer()).save(root / "brushed.html")
    page.goto(f"file://{root}/brushed.html")
    page.wait_for_selector(".chart svg.marks")
    brushes(page, page.locator(".chart svg.marks"))
    assert page.aborted == aborted


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


def test_our_exported_page_brushes_without_the_internet(explored, page, root):
    """With legend and selection. What is aborted is nbconvert's own: formulas, and widgets, which need a kernel."""
    body, _ = AascoreExporter().from_filename(str(root / "explorer.ipynb"))
    (root / "brushed.html").write_text(body, encoding="utf-8")
    aborted = list(page.aborted)
    page.goto(f"file://{root}/brushed.html")
    chart = page.locator(".chart svg.marks").last
    expect(chart).to_contain_text('Selected: steps[6:12] where tag == "b"')
    brushes(page, chart)
    explored.picture("exported-brushed", full_page=True)
    page.aborted[:] = aborted
