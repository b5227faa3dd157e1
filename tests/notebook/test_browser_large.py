"""A long run with many stages of long names in a real JupyterLab: all fits its page, in both themes and widths.

``STEPS=20000`` in the environment makes it as long as such runs are; charts show the same number of marks of either.
"""

import os
from itertools import product

import pytest
from playwright.sync_api import expect

from tests.notebook import lab

pytestmark = pytest.mark.browser

STEPS, SMALL, STAGES = int(os.environ.get("STEPS", "1000")), 80, 40
KINDS = "how well the first kind of goods is recognized", "how well the second kind of goods is recognized"
RECORDED = f"""{lab.WITH_CHARTS}
import copy, numpy as np, torch, aadsl
torch.manual_seed(0)
data = torch.randn(400, 4), torch.randint(0, 3, (400,))
test = (data[0][:50], data[1][:50])
net = torch.nn.Linear(4, 3)
def loss_fn(model, batch):
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
names = [f"a shipment of photographs from the northern warehouse, delivery {{k:02d}}" for k in range({STAGES})]
def record(path, steps):
    model = copy.deepcopy(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with aadsl.Recorder(path, model, optimizer, data) as recorder:
        for t in range(steps):
            rows = np.arange(4 * t, 4 * t + 4) % 400
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + 4 * t // steps)
            optimizer.zero_grad()
            loss_fn(model, (data[0][rows], data[1][rows])).backward()
            recorder.batch(indices=rows, shipment=names[t * {STAGES} // steps], epoch=t // 100)
            optimizer.step()
    return model
large, small = record("large", {STEPS}), record("small", {SMALL})"""
NAMED = f"""stages shipment by shipment
behavior `{KINDS[0]}` = log_likelihood(target=0) on test
behavior `{KINDS[1]}` = margin on test[:40]"""
WITH = 'loss=loss_fn, data=data, device="cpu"'
BOTH = f"`{KINDS[0]}`, `{KINDS[1]}`"
ASKED = f"""%%aascore
load "large" with model=large, {WITH}
{NAMED}
score shipment on {BOTH} using first_order()
plot timeline by shipment
plot bars
plot heatmap
plot cumulative
plot schedule
show trajectory
show stages
show behaviors"""
EXPLORED = f"""%%aascore --explore
score shipment on {BOTH} using first_order()"""
# A short run, of which all is known exactly in little time: values without each stage, whiskers, shares.
CHECKED = f"""%%aascore --out checked
load "small" with model=small, {WITH}
{NAMED}
score shipment, steps[30:50] on {BOTH}
check `{KINDS[0]}`
score shipment on `{KINDS[0]}` using first_order()
plot timeline
plot bars
shares steps[0:30], steps[30:60], steps[60:] on {BOTH}
save "report.html"
plot waterfall"""
TWO = f"""%%aascore
load "large" with model=large, {WITH} as first
load "small" with model=small, {WITH} as second
{NAMED}
score shipment on `{KINDS[0]}` using first_order()
score steps[10:30] on `{KINDS[0]}` using first_order()
plot bars
plot timeline"""
# What is cut: a chart wider than its place; a table or text so, with no way to scroll there; a part of the explorer.
# What overlaps: upright texts of one axis or legend, since the boxes of others say nothing; controls and texts of the
# explorer. What is too high: a table that fits no screen.
FAULTS = """() => {
  const found = [], box = node => node.getBoundingClientRect();
  const shown = node => node.checkVisibility({ checkOpacity: true }) && box(node).width > 0;
  const moves = node => ['auto', 'scroll'].includes(getComputedStyle(node).overflowX);
  const scrolls = node => node && (moves(node) || scrolls(node.parentElement));
  const rolls = node => ['auto', 'scroll'].includes(getComputedStyle(node).overflowY);
  const high = node => rolls(node) || node.matches('.jp-OutputArea')
    ? box(node).height : Math.min(box(node).height, high(node.parentElement));
  const upright = text => shown(text) && !text.getAttribute('transform')?.includes('rotate');
  for (const output of document.querySelectorAll('.jp-OutputArea-output')) {
    for (const node of [...output.querySelectorAll('table, svg.marks, pre')].filter(shown))
      if (box(node).right > box(output).right + 1 && (node.tagName === 'svg' || !scrolls(node.parentElement)))
        found.push(`cut: ${node.tagName} ${node.textContent.slice(0, 60)}`);
    for (const table of [...output.querySelectorAll('table')].filter(shown))
      if (high(table) > innerHeight)
        found.push(`high: ${table.textContent.slice(0, 60)}`);
  }
  const apart = nodes => {
    const texts = nodes.map(node => [node.textContent, box(node)]);
    texts.forEach(([one, a], k) => texts.slice(k + 1).forEach(([other, b]) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 3) found.push(`overlap: ${one} | ${other}`);
    }));
  };
  for (const part of document.querySelectorAll('.role-axis-label, .role-legend-label'))
    apart([...part.querySelectorAll('text')].filter(upright));
  for (const explorer of document.querySelectorAll('.aadsl-explorer')) {
    const parts = 'canvas, button, input, select, th, td, figcaption, .aadsl-count, .aadsl-statement, img, q, summary';
    const all = [...explorer.querySelectorAll(parts)].filter(node => shown(node) && !node.closest('.aadsl-steps'));
    apart(all.filter(node => !all.some(inner => inner !== node && node.contains(inner))));
    const spills = node => node.matches('td, th') && node.scrollWidth > node.clientWidth + 1;
    for (const node of all)
      if (box(node).right > box(explorer).right + 1 || spills(node))
        found.push(`cut: ${node.tagName} ${node.textContent.slice(0, 60)}`);
  }
  return found;
}"""
# That the check sees faults.
PLANTED = """() => {
  const [output] = document.querySelectorAll('.jp-OutputArea-output');
  output.style.overflow = output.parentElement.style.overflow = 'visible';
  const table = document.createElement('table');
  table.style.cssText = 'width: 3000px; height: 3000px';
  table.textContent = 'planted';
  output.append(table);
  const [explorer] = document.querySelectorAll('.aadsl-explorer');
  explorer.querySelector('.aadsl-count').style.marginLeft = '-40em';
  explorer.querySelector('.aadsl-statement').style.cssText = 'width: 3000px; max-width: none; flex: none';
}"""


def test_answers_charts_explorer_and_report_fit(notebook, page, root):
    large = notebook("large", RECORDED, ASKED, EXPLORED, CHECKED, "checked.frame", TWO)
    large.run_all()
    page.wait_for_function("document.querySelectorAll('.vega-embed svg').length >= 10")
    size = page.viewport_size
    explored(large, page)
    found = {}
    for width, theme in product((1400, 900), ("Light", "Dark")):
        page.set_viewport_size({"width": width, "height": 1000})
        large.theme(theme)
        page.wait_for_timeout(500)
        found[width, theme] = page.evaluate(FAULTS)
        for k, output in enumerate(page.locator(".jp-OutputArea-child:visible").all()):
            if lab.SCREENSHOTS.is_dir():
                output.screenshot(path=lab.SCREENSHOTS / f"large-{width}-{theme.lower()}-{k:02}.png")
    large.theme("Light")
    assert not any(found.values()), found
    page.evaluate(PLANTED)
    assert {fault.split(":")[0] for fault in page.evaluate(FAULTS)} >= {"cut", "high", "overlap"}
    page.goto(f"file://{root}/report.html")
    page.wait_for_selector("svg.marks")
    wide = "document.scrollingElement.scrollWidth <= innerWidth"
    assert page.evaluate(wide), "the report fits a narrow page"
    large.picture("large-report", full_page=True)
    page.set_viewport_size(size)


def explored(large, page):
    """Select by brush, keys, legend and stage, and keep two selections."""
    explorer, count = page.locator(".aadsl-explorer"), page.locator(".aadsl-count")
    large.brush(10)
    explorer.locator("canvas").first.focus()
    page.keyboard.press("ArrowRight")
    explorer.get_by_role("button", name="Keep to compare").click()
    explorer.get_by_role("button", name="Select nothing").click()
    legend = explorer.locator(".aadsl-legend button")
    assert legend.count() == 12 and len(set(legend.all_inner_texts())) == 12
    legend.last.click()
    expect(count).to_have_text(f"{STEPS // STAGES} of {STEPS:,} steps")
    explorer.get_by_label("select the steps of a stage").select_option(index=STAGES)
    expect(count).to_have_text(f"{STEPS // STAGES} of {STEPS:,} steps")
    explorer.get_by_role("button", name="Keep to compare").click()
    expect(explorer.locator(".aadsl-effects thead th")).to_have_count(5)
    expect(explorer.locator(".aadsl-effects")).to_contain_text("✓ exact")  # it follows by itself
    expect(explorer.locator(".aadsl-examples")).to_contain_text("Labels")
    explorer.locator("summary").click()
    expect(explorer.locator(".aadsl-steps tbody tr").first).to_be_visible()
