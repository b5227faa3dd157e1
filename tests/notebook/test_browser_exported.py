"""What a page holds that nbconvert makes of a notebook, and charts in the ink of other pages: words, and contrast."""

import tomllib
from base64 import b64encode
from pathlib import Path

import nbformat
import pytest
import vl_convert
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from aadsl.charts import CHARTS
from aadsl.charts.bundle import lab_spec
from jupyter_ext.answers import answer_html, answer_text
from jupyter_ext.display import chart_bundle
from jupyter_ext.exporter import AascoreExporter
from jupyter_ext.html import preformatted
from tests.charts.answers import answer, many_stages

pytestmark = pytest.mark.browser

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
# The contrast of each text with what lies under it; of each picture, that of its darkest pixel with its corner.
CONTRAST = """() => {
  const numbers = css => css.match(/[\\d.]+/g).map(Number);
  const linear = c => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((c, k) => a * c + (1 - a) * under[k]);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const paper = node => node
    ? over(numbers(getComputedStyle(node).backgroundColor), paper(node.parentElement)) : [255, 255, 255];
  const cells = text => [...text.closest('svg').querySelectorAll('.mark-rect path')].filter(cell => {
    const a = cell.getBoundingClientRect(), b = text.getBoundingClientRect();
    const x = b.x + b.width / 2, y = b.y + b.height / 2;
    return a.left <= x && x <= a.right && a.top <= y && y <= a.bottom;
  });
  const under = text => cells(text).reduce((below, cell) => {
    const [r, g, b, a = 1] = numbers(getComputedStyle(cell).fill);
    return over([r, g, b, a * Number(cell.getAttribute('fill-opacity') ?? 1)], below);
  }, paper(document.body));
  const found = [];
  for (const node of document.querySelectorAll('.jp-OutputArea-output :is(td, th, pre, p)'))
    found.push([ratio(numbers(getComputedStyle(node).color), paper(node)), node.textContent]);
  for (const node of document.querySelectorAll('svg.marks text')) {
    const below = under(node);
    found.push([ratio(over(numbers(getComputedStyle(node).fill), below), below), node.textContent]);
  }
  for (const image of document.querySelectorAll('img')) {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    let darkest = data.slice(0, 3);
    for (let k = 0; k < data.length; k += 4) {
      const pixel = data.subarray(k, k + 3);
      if (pixel[0] + pixel[1] + pixel[2] < darkest[0] + darkest[1] + darkest[2]) darkest = pixel;
    }
    found.push([ratio(darkest, data.slice(0, 3)), image.alt]);
  }
  return found.filter(([, text]) => text.trim());
}"""


def faint(page):
    """What is harder to read than it may be; and how much was looked at."""
    found = page.evaluate(CONTRAST)
    return [(ratio, text) for ratio, text in found if ratio < 4.5], len(found)


@pytest.fixture(scope="module")
def bundles():
    data = answer(verified=True, examples=6, shares=True, trust=True)
    shown = [chart_bundle(chart().draw(data)) for chart in CHARTS.values()]
    return [({**data, "image/png": b64encode(data["image/png"]).decode()}, metadata) for data, metadata in shown]


@pytest.mark.parametrize(("theme", "pale"), [("light", "#bbbbbb"), ("dark", "#444444")])
def test_an_exported_page_tells_each_chart_and_can_be_read(page, root, bundles, theme, pale):
    texts = {"text/plain": "said", "text/html": preformatted("said")}
    data = answer(trust=True)
    table = {"text/plain": answer_text(data), "text/html": answer_html(data)}
    shown = [*bundles, (texts, {}), (table, {})]
    outputs = [nbformat.v4.new_output("display_data", data, metadata=metadata) for data, metadata in shown]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("score", outputs=outputs)])
    body, _ = AascoreExporter(theme=theme).from_notebook_node(book)
    pictures = BeautifulSoup(body, "html.parser").select(".chart img")  # until they are drawn, and without scripts
    assert [image["alt"] for image in pictures] == [data["text/plain"] for data, _ in bundles]
    path = root / f"exported-{theme}.html"
    path.write_text(body, encoding="utf-8")
    aborted = list(page.aborted)  # nbconvert's own template asks for MathJax
    page.goto(f"file://{path}")
    page.wait_for_function(f"document.querySelectorAll('svg.marks').length === {len(bundles)}")
    page.aborted[:] = aborted
    told = page.locator(".chart").evaluate_all("all => all.map(chart => chart.getAttribute('aria-label'))")
    assert told == [data["text/plain"].removeprefix("[chart] ") for data, _ in bundles]
    extremes = [alt for alt in told if "largest" in alt and "smallest" in alt]
    assert len(extremes) == len(CHARTS) - 1, "all but the schedule tell the extremes of effects"
    found, count = faint(page)
    assert not found and count > 50
    page.locator(".jp-OutputArea-output td").first.evaluate("(cell, pale) => { cell.style.color = pale }", pale)
    assert faint(page)[0]


def test_nbconverts_own_template_with_such_texts_has_them(bundles):
    outputs = [nbformat.v4.new_output("display_data", data, metadata=metadata) for data, metadata in bundles]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=outputs)])
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(book)
    told = BeautifulSoup(page, "html.parser").select("img[alt]")
    assert [image["alt"] for image in told] == [data["text/plain"] for data, _ in bundles]


def test_nbconvert_finds_the_exporter():
    [entry] = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["nbconvert.exporters"].items()
    assert entry == ("aascore", f"{AascoreExporter.__module__}:{AascoreExporter.__name__}")


@pytest.mark.parametrize(("ink", "paper"), [("#1f1f1f", "#ffffff"), ("#cccccc", "#1f1f1f")])
def test_outside_of_jupyterlab_a_heatmap_is_written_in_the_ink_of_its_page(page, ink, paper):
    drawn = vl_convert.vegalite_to_svg(lab_spec(CHARTS["heatmap"]().draw(many_stages(12))), vl_version="5.20")
    page.goto("about:blank")
    page.set_content(f'<body style="color: {ink}; background: {paper}">{drawn}</body>')
    found, count = faint(page)
    assert not found and count > 24
    page.evaluate("document.body.style.color = '#767676'")
    assert faint(page)[0]
