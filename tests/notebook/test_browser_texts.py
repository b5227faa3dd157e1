"""Texts of a recording in a real JupyterLab, a saved notebook and an exported page: nothing of them runs."""

import pytest
from nbconvert import HTMLExporter

from tests.notebook import lab

pytestmark = pytest.mark.browser

RECORDED = f"""{lab.WITH_RUNS}
import torch, aadsl
from tests.charts.test_hostile_texts import HOSTILE
TEXTS = [text for text in HOSTILE if "\\0" not in text]
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
with aadsl.Recorder("hostile", net, optimizer, digits) as recorder:
    for t, text in enumerate(TEXTS):
        optimizer.zero_grad()
        loss_fn(net, tuple(part[10 * t : 10 * t + 10] for part in digits)).backward()
        recorder.batch(indices=range(10 * t, 10 * t + 10), tag=text, source=TEXTS[t - 1], kind=TEXTS[t // 10],
            image="https://example.org/" + text, title=text, self=text)
        optimizer.step()"""
ASKED = """%%aascore
load "hostile" with model=net, loss=loss_fn, data=digits, device="cpu"
stages part by tag within steps[0:6]
stages origin by source
stage `</script><img src=x onerror=alert(1)>` = steps[2:4]
behavior `<svg onload=alert(1)>` = log_likelihood on test per example
score part, `</script><img src=x onerror=alert(1)>` on `<svg onload=alert(1)>`
plot timeline by tag
plot bars
plot examples
examples of part on `<svg onload=alert(1)>` top 2
show stages
show behaviors
show trajectory
explain score part on `<svg onload=alert(1)>`
rank steps on `<svg onload=alert(1)>` top 3"""
MISTAKEN = """%%aascore
stage x = steps where tag == "<img src=x onerror=alert(1)>" and `<img src=y onerror=alert(1)>` == 1"""
RAN = "document.querySelectorAll('img[src=x], img[src=y], svg[onload], [onmouseover], [onerror]').length"


def hovers(page):
    """Whether a tooltip is shown over the bars of the first chart; the page may just be moving that."""
    bars = page.locator(".vega-embed svg .mark-rule.role-mark").first
    bars.scroll_into_view_if_needed()
    box = bars.bounding_box()
    for part in (0.3, 0.5):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
    return page.locator("#vg-tooltip-element.visible").count()


def test_nothing_of_them_runs(notebook, page, address, root, wrong):
    cells = RECORDED, ASKED, MISTAKEN, "study = aadsl.open_trajectory('hostile'); study", "%%aascore\nscore "
    book = notebook("texts", *cells)
    book.run_all()
    page.wait_for_function("document.querySelectorAll('.vega-embed svg').length === 3")
    lab.until(lambda: hovers(page), lambda seconds: page.wait_for_timeout(1000 * seconds))
    assert page.locator("#vg-tooltip-element img").count() == 0
    page.locator(".jp-CodeCell").nth(len(cells) - 1).locator(".cm-content").click()
    page.keyboard.press("Control+End")
    page.keyboard.press("Tab")
    page.locator(".jp-Completer-item", has_text="onerror").first.wait_for()
    assert page.evaluate(RAN) == 0 and not wrong
    page.keyboard.press("Escape")
    book.picture("hostile-texts", full_page=True)
    assert page.evaluate(RAN) == 0 and not wrong
    book.save(root / "texts.ipynb")
    lab.end_kernels(address)
    lab.Notebook(page, address).open("texts.ipynb")
    page.wait_for_function("document.querySelectorAll('.vega-embed svg').length === 3")
    assert page.evaluate(RAN) == 0 and not wrong

    body, _ = HTMLExporter().from_filename(str(root / "texts.ipynb"))
    (root / "texts.html").write_text(body, encoding="utf-8")
    aborted = list(page.aborted)
    page.goto(f"file://{root}/texts.html")
    assert page.locator(".jp-OutputArea img, .jp-OutputArea svg").count() >= 3
    assert page.evaluate(RAN) == 0
    page.aborted[:] = aborted  # nbconvert's own template asks for MathJax
    assert not wrong, "and what is planted is seen:"
    page.evaluate("() => { document.body.innerHTML = '<img src=x onerror=alert(1)>' }")
    lab.until(lambda: wrong, lambda seconds: page.wait_for_timeout(1000 * seconds))
