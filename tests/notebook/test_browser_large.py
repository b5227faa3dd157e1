"""A long run with many stages of long names in a real JupyterLab: all fits its page, in both themes and widths.

``STEPS=20000`` in the environment makes it as long as such runs are; charts show the same number of marks of either.
"""

import os
from itertools import product

import pytest

from tests.notebook import lab

pytestmark = pytest.mark.browser

STEPS, STAGES = int(os.environ.get("STEPS", "2000")), 40
KINDS = "how well the first kind of goods is recognized", "how well the second kind of goods is recognized"
RECORDED = f"""{lab.WITH_CHARTS}
import numpy as np, torch, aadsl
torch.manual_seed(0)
data = torch.randn(400, 4), torch.randint(0, 3, (400,))
net = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
def loss_fn(model, batch):
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
names = [f"a shipment of photographs from the northern warehouse, delivery {{k:02d}}" for k in range({STAGES})]
with aadsl.Recorder("large", net, optimizer, data) as recorder:
    for t in range({STEPS}):
        rows = np.arange(4 * t, 4 * t + 4) % 400
        optimizer.param_groups[0]["lr"] = 0.01 / (1 + 4 * t // {STEPS})
        optimizer.zero_grad()
        loss_fn(net, (data[0][rows], data[1][rows])).backward()
        recorder.batch(indices=rows, shipment=names[t * {STAGES} // {STEPS}], epoch=t // 100)
        optimizer.step()
test = (data[0][:50], data[1][:50])"""
ASKED = f"""%%aascore
load "large" with model=net, loss=loss_fn, data=data, device="cpu"
stages shipment by shipment
behavior `{KINDS[0]}` = log_likelihood(target=0) on test
behavior `{KINDS[1]}` = margin on test
score shipment on `{KINDS[0]}`, `{KINDS[1]}` using first_order()
plot timeline by shipment
plot bars
plot heatmap
plot cumulative
plot schedule
show trajectory
show stages
show behaviors"""
# What is cut: wider than its place, with no way to scroll there. What overlaps: upright texts of one axis or legend,
# since the boxes of others say nothing. What is too high: a table that fits no screen.
FAULTS = """() => {
  const found = [], box = node => node.getBoundingClientRect();
  const shown = node => node.checkVisibility({ checkOpacity: true }) && box(node).width > 0;
  const moves = node => ['auto', 'scroll'].includes(getComputedStyle(node).overflowX);
  const scrolls = node => node && (moves(node) || scrolls(node.parentElement));
  const upright = text => shown(text) && !text.getAttribute('transform')?.includes('rotate');
  for (const output of document.querySelectorAll('.jp-OutputArea-output')) {
    for (const node of [...output.querySelectorAll('table, svg.marks, pre')].filter(shown))
      if (box(node).right > box(output).right + 1 && !scrolls(node.parentElement))
        found.push(`cut: ${node.tagName} ${node.textContent.slice(0, 60)}`);
    for (const table of [...output.querySelectorAll('table')].filter(shown))
      if (Math.min(box(table).height, box(table.parentElement).height) > innerHeight)
        found.push(`high: ${table.textContent.slice(0, 60)}`);
  }
  for (const part of document.querySelectorAll('.role-axis-label, .role-legend-label')) {
    const texts = [...part.querySelectorAll('text')].filter(upright).map(text => [text.textContent, box(text)]);
    texts.forEach(([one, a], k) => texts.slice(k + 1).forEach(([other, b]) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 3) found.push(`overlap: ${one} | ${other}`);
    }));
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
}"""


def test_answer_charts_and_tables_fit(notebook, page):
    large = notebook("large", RECORDED, ASKED)
    large.run_all()
    page.wait_for_function("document.querySelectorAll('.vega-embed svg').length === 5")
    size = page.viewport_size
    found = {}
    for width, theme in product((1400, 900), ("Light", "Dark")):
        page.set_viewport_size({"width": width, "height": 1000})
        large.theme(theme)
        page.wait_for_timeout(500)
        found[width, theme] = page.evaluate(FAULTS)
        for k, output in enumerate(page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-child").all()):
            if lab.SCREENSHOTS.is_dir():
                output.screenshot(path=lab.SCREENSHOTS / f"large-{width}-{theme.lower()}-{k}.png")
    page.set_viewport_size(size)
    large.theme("Light")
    assert not any(found.values()), found
    page.evaluate(PLANTED)
    assert {fault.split(":")[0] for fault in page.evaluate(FAULTS)} >= {"high"}
