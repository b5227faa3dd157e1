"""The explorer's exact answer by hand, in a real JupyterLab: progress, cancel, cells beside it, the right number."""

import re

import pytest

from tests.notebook import lab

pytestmark = pytest.mark.browser

SLOW = """import time
pause = 0.0
def slow_loss(net, batch):
    time.sleep(pause)  # so that a person, or a test, comes in the middle
    return loss_fn(net, batch)"""
PROGRAM = """%%aascore --explore --out asked
load "{path}" with model=net, loss=slow_loss, data=digits
stage b = steps where tag == "b"
behavior seven = log_likelihood(target=7) on test
score b on seven"""
LEFT = "print('left', *asked.session.study.stages, len(asked.session.answers))"


@pytest.fixture
def explorer(notebook, page, recorded, request):
    """An explorer with steps 3 to 12 selected, whose training takes half a second a step from now on."""
    cells = [lab.SETUP, SLOW, PROGRAM.format(path=recorded.path), "pause = 0.5"]
    book = notebook(request.node.name, *cells)
    book.run_all(180)
    page.wait_for_selector(".aadsl-explorer canvas")
    for field, value in enumerate(("3", "12")):
        page.locator(".aadsl-explorer input[type=number]").nth(field).fill(value)
        page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.aadsl-count').textContent === '9 of 24 steps'")
    return book


def button(page, name):
    return page.locator(".aadsl-explorer").get_by_role("button", name=name, exact=True)


def middle(page):
    """Wait until some steps are trained, and return how many of how many."""
    page.wait_for_function("/retraining: [1-9]\\d* of/.test(document.querySelector('.aadsl-exact').textContent)")
    words = page.locator(".aadsl-exact").inner_text()
    return [int(number) for number in re.search(r"(\d+) of (\d+)", words).groups()]


def cancelled(page):
    page.wait_for_function("document.querySelector('.aadsl-exact').textContent === 'cancelled'")


def test_exact_answer_is_cancelled_in_the_middle_and_right_when_it_ends(explorer, page, recorded):
    button(page, "Exact answer").click()
    done, total = middle(page)
    assert 0 < done < total
    assert 0 < page.locator(".aadsl-exact progress").evaluate("bar => bar.value") < 1
    explorer.picture("exact-running")
    button(page, "Cancel").click()
    cancelled(page)
    assert page.locator(".aadsl-exact progress").count() == 0
    assert page.locator(".aadsl-effects th").all_inner_texts().count("exact") == 0
    assert explorer.run_cell(LEFT) == "left b 1"
    explorer.picture("exact-cancelled")

    explorer.run_cell("pause = 0.0")
    button(page, "Exact answer").click()
    page.wait_for_selector(".aadsl-effects th:text-is('exact')")
    shown = page.locator(".aadsl-effects tbody tr").first.locator("td").nth(2).inner_text()
    inputs = recorded.data[0][:20]
    truth = [recorded.retrained(skipped)(inputs).log_softmax(-1)[:, 7].mean().item() for skipped in ([], range(3, 12))]
    assert float(shown.split()[0].replace("−", "-")) == pytest.approx(truth[0] - truth[1], rel=1e-3)
    assert shown.split()[1] == ("helped" if truth[0] > truth[1] else "hurt")
    assert explorer.run_cell(LEFT) == "left b 1"
    explorer.picture("exact-done")


def test_a_cell_waits_for_the_exact_answer_and_either_can_be_stopped(explorer, page):
    button(page, "Exact answer").click()
    middle(page)
    cell = explorer.start_cell("%aascore score b on seven using retraining()")
    cell.get_by_text("waiting for another computation").wait_for()
    explorer.picture("exact-cell-waits")
    explorer.execute("notebook:interrupt-kernel")
    cell.get_by_text("stopped; ").wait_for()
    assert middle(page)  # the exact answer goes on
    button(page, "Cancel").click()
    cancelled(page)
    assert explorer.run_cell(LEFT) == "left b 1"

    button(page, "Exact answer").click()
    middle(page)
    cell = explorer.start_cell("%aascore score b on seven using retraining()")
    cell.get_by_text("waiting for another computation").wait_for()
    button(page, "Cancel").click()  # frees the cell
    cancelled(page)
    cell.get_by_text("trained again").wait_for()
    assert explorer.run_cell(LEFT) == "left b 2"
