"""The explorer's exact answer by hand, in a real JupyterLab: progress, cancel, cells beside it, the right number."""

import re

import pytest
from playwright.sync_api import expect

from tests.notebook import lab

pytestmark = pytest.mark.browser

# While the file ``hold`` is there, training is slower than the explorer speaks of it, and does not come past step 20.
# Cancelling lets it go on, so that it comes to where it ends: before its next step.
# No answer follows by itself: here it is asked for by hand.
HELD = """import os, time, torch
from jupyter_ext.explorer import exact
from jupyter_ext.explorer.exact import ExactAnswer
exact.QUICK = -1.0
hold, late = {hold!r}, digits[0][200:210]
def held_loss(net, batch):
    if os.path.exists(hold):
        time.sleep(0.2)
    while os.path.exists(hold) and torch.equal(batch[0], late):
        time.sleep(0.05)
    return loss_fn(net, batch)
init = ExactAnswer.__init__
def letting_go(self, tell):
    init(self, tell)
    cancel = self.cancel
    def let_go(by_hand=True):
        cancel(by_hand)
        if by_hand and os.path.exists(hold):
            os.remove(hold)
    self.cancel = let_go
ExactAnswer.__init__ = letting_go"""
PROGRAM = """%%aascore --explore --out asked
load "{path}" with model=net, loss=held_loss, data=digits, device="cpu"
stage b = steps where tag == "b"
behavior seven = log_likelihood(target=7) on test
score b on seven"""
LEFT = "print('left', *asked.session.study.stages, len(asked.session.answers))"


@pytest.fixture
def hold(root, request):
    """The file that holds training up while it is there."""
    return root / f"{request.node.name}.hold"


@pytest.fixture
def explorer(notebook, page, recorded, request, hold):
    """An explorer with steps 3 to 12 selected."""
    cells = [lab.WITH_RUNS, HELD.format(hold=str(hold)), PROGRAM.format(path=recorded.path)]
    book = notebook(request.node.name, *cells)
    book.run_all()
    page.wait_for_selector(".aadsl-explorer canvas")
    for field, value in enumerate(("3", "12")):
        page.locator(".aadsl-explorer input[type=number]").nth(field).fill(value)
        page.keyboard.press("Enter")
    expect(page.locator(".aadsl-count")).to_have_text("9 of 24 steps")
    expect(page.locator(".aadsl-exact")).to_contain_text("would take about")  # and so it does not follow
    return book


def button(page, name):
    return page.locator(".aadsl-explorer").get_by_role("button", name=name, exact=True)


def middle(page):
    """Wait until some steps are trained, and return how many of how many."""
    page.wait_for_function("/retraining: [1-9]\\d* of/.test(document.querySelector('.aadsl-exact').textContent)")
    words = page.locator(".aadsl-exact").inner_text()
    return [int(number) for number in re.search(r"(\d+) of (\d+)", words).groups()]


def cancelled(page):
    expect(page.locator(".aadsl-exact")).to_have_text("cancelled")


def test_exact_answer_is_cancelled_in_the_middle_and_right_when_it_ends(explorer, page, recorded, hold):
    hold.touch()
    button(page, "Exact answer").click()
    done, total = middle(page)
    assert 0 < done < total
    assert 0 < page.locator(".aadsl-exact progress").evaluate("bar => bar.value") < 1
    explorer.picture("exact-running")
    button(page, "Cancel").click()
    cancelled(page)
    assert page.locator(".aadsl-exact progress").count() == 0
    assert "✓" not in page.locator(".aadsl-effects").inner_text()
    assert explorer.run_cell(LEFT) == "left b 1"
    explorer.picture("exact-cancelled")

    button(page, "Exact answer").click()
    page.wait_for_selector(".aadsl-effects .aadsl-exactly")
    shown = page.locator(".aadsl-effects tbody tr").first.locator("td").nth(1).inner_text()
    inputs = recorded.data[0][:20]
    truth = [recorded.retrained(skipped)(inputs).log_softmax(-1)[:, 7].mean().item() for skipped in ([], range(3, 12))]
    assert lab.number(shown) == pytest.approx(truth[0] - truth[1], rel=lab.DIGITS)
    assert shown.split()[1] == ("helped" if truth[0] > truth[1] else "hurt")
    assert explorer.run_cell(LEFT) == "left b 1"
    explorer.picture("exact-done")


def test_a_cell_waits_for_the_exact_answer_and_either_can_be_stopped(explorer, page, hold):
    hold.touch()
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

    hold.touch()
    button(page, "Exact answer").click()
    middle(page)
    cell = explorer.start_cell("%aascore score b on seven using retraining()")
    cell.get_by_text("waiting for another computation").wait_for()
    button(page, "Cancel").click()  # frees the cell
    cancelled(page)
    cell.locator("table").wait_for()
    assert explorer.run_cell(LEFT) == "left b 2"
