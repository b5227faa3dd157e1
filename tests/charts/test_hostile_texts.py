"""Whatever text a recording holds, charts draw it and pages hold it as text: nothing of it runs, and nothing breaks."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from aadsl.charts import CHARTS, save
from aadsl.charts.export import html, svg
from aadsl.charts.report import AnswerPage
from aadsl.charts.texts import embedded, shown
from aadsl.charts.thumbnails import with_thumbnails
from aadsl.core.texts import LONGEST
from tests.charts.answers import answer
from tests.notebook.lab import FLAGS, apart, chromium

HOSTILE = [
    "</script><img src=x onerror=alert(1)>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "--><svg onload=alert(1)>", "javascript:alert(1)", '"onmouseover="alert(1)', "]]>", "<!--<script>",
    "a\\b", "a.b", "a[0]", "a\nb", "a'b", 'a"b', "\u2028", "constructor", "toString", "color", "__proto__", "datum",
    "x\x1b[31m\x07\x0b", "\ufffe\uffff", "\x00", "é" * 20_000,
    "image", "title", "data:image/png;\x1b[31m", "a\u202eb",
]  # fmt: skip
PICTURE = "data:image/png;\x1b[31m"  # none, though it begins like one
UNDRAWN = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF, 0xFDD0, 0xD800, 0x2028, 0x202E)]


def hostile() -> xr.Dataset:
    """Return an answer with such texts wherever a recording's texts go: names of metadata, their values, families."""
    dataset = answer(behaviors=tuple(f"digit[{text}]" for text in HOSTILE[:2]), verified=True, examples=6, shares=True)
    steps = dataset.sizes["step"]
    texts = np.array([HOSTILE[t % len(HOSTILE)] for t in range(steps)], dtype=object)
    stages = [f"source[{text}]" for text in HOSTILE[: dataset.sizes["stage"]]]
    named = {text: ("step", np.arange(steps) % 3) for text in HOSTILE if text}
    dataset = dataset.assign_coords(tag=("step", texts), phase=("step", texts), stage=stages, **named)
    inputs = {str(name): [*HOSTILE[:5], PICTURE] for name in dataset["behavior"].values}
    return with_thumbnails(dataset, inputs)


ANSWER = hostile()


def reported() -> AnswerPage:
    """Return a report with such texts wherever a program, names and what is known of a run go."""
    answer = ANSWER.assign_attrs(dict.fromkeys(("question", "plan", "unverified", "intervention"), HOSTILE[0]))
    answer = answer.assign(
        trust=answer["effect"].astype(str).copy(data=np.full(answer["effect"].shape, "low")),
        trust_reason=answer["effect"].astype(str).copy(data=np.resize(HOSTILE[:6], answer["effect"].shape)),
    )
    rows = [(text, text) for text in HOSTILE]
    program, charts = "\n".join(HOSTILE), [CHARTS["bars"]().draw(ANSWER)]
    return AnswerPage(answer, program, rows, rows, charts, HOSTILE[0], dict(rows))


def write_demo(path: Path) -> None:
    """Write the page of ``make demo`` with such texts wherever those of a run and its answers go."""
    folder = Path(__file__).parents[2] / "tutorials"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        demo = import_module("demo")
    said = dict.fromkeys(("plan", "created", "aadsl_version", "trajectory_digest"), HOSTILE[0])
    drawn = [CHARTS[name]().draw(ANSWER) for name in ("timeline", "bars", "agreement", "waterfall")]
    doubted = reported().answer.assign_attrs(said)
    demo.write_page(path, "\n".join(HOSTILE), drawn, HOSTILE, doubted, doubted)


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_draws_them(name: str) -> None:
    picture = svg(CHARTS[name]().draw(ANSWER))
    assert picture.startswith("<svg") and "<img" not in picture and "<script" not in picture
    assert not any(text in picture for text in UNDRAWN if text not in "\t\n\r")


@pytest.mark.parametrize("name", [name for name, chart in CHARTS.items() if chart.by_coordinate])
@pytest.mark.parametrize("text", HOSTILE)
def test_metadata_of_any_name_color_a_chart(name: str, text: str) -> None:
    chart = CHARTS[name]().draw(ANSWER, by=text)
    picture = svg(chart)
    assert "undefined" not in picture and "NaN" not in picture
    fields = set(json.dumps(chart.to_dict()).split('"field": "')[1:])
    assert all(field.split('"')[0].isidentifier() for field in fields)


def test_what_cannot_be_drawn_is_replaced_and_long_texts_lose_their_middle() -> None:
    assert [shown(text) for text in "\x1b\x07\x7f\ufffe\ud800\u2028"] == ["␛", "␇", "␡", "\ufffd", "\ufffd", "\ufffd"]
    assert shown("a\tb\nc") == "a\tb\nc" and shown("naïve 日本語 🙂") == "naïve 日本語 🙂"
    long = shown("begin" + "x" * 200_000 + "end")
    assert len(long) == LONGEST and long.startswith("begin") and long.endswith("end")
    picture = "data:image/png;base64," + "A" * 10_000
    assert shown(picture) == picture


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_json_is_the_same_data_and_ends_no_script(text: str) -> None:
    data = {text: [text, 1.5, None]}
    written = embedded(data)
    assert json.loads(written) == data
    assert not {"<", ">", "&", "\u2028"} & set(written) and written.isascii()


@pytest.mark.browser
@apart
def test_nothing_of_them_runs_in_a_page(tmp_path: Path) -> None:
    """In Chromium, over charts and a report: drawn under a policy that allows no other code, no error, no dialog."""
    from playwright.sync_api import sync_playwright

    executable = chromium()
    for name in CHARTS:
        save(CHARTS[name]().draw(ANSWER), tmp_path / f"{name}.html")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page()
        wrong: list[str] = []
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        (tmp_path / "report.html").write_text(reported().html(), encoding="utf-8")
        write_demo(tmp_path / "demo.html")
        for name in (*CHARTS, "report", "demo"):
            page.goto((tmp_path / f"{name}.html").as_uri())
            page.wait_for_function(
                "document.querySelectorAll('.chart').length === document.querySelectorAll('.chart svg.marks').length"
            )
            assert page.evaluate("document.querySelectorAll('img, svg svg, svg script').length") == 0
        said = tooltip(page, tmp_path)
        assert page.locator("img").count() == 0
        assert "https://example.org/" in said and "part 1" in said and "undefined" not in said
        planted = html(CHARTS["bars"]().draw(ANSWER)).replace("<body>", "<body><script>alert(1)</script>", 1)
        (tmp_path / "planted.html").write_text(planted)
        assert not wrong
        page.goto((tmp_path / "planted.html").as_uri())
        page.wait_for_selector(".chart svg.marks")
        assert len(wrong) == 1 and "Content Security Policy" in wrong[0]  # refused, and the checker sees it
        browser.close()


def tooltip(page: Any, folder: Path) -> str:
    """Return what is shown where the mouse rests on a step of which an address of a picture is known."""
    places = [f"https://example.org/{t}.png" for t in range(60)]
    chart = CHARTS["timeline"]().draw(answer().assign_coords(image=("step", places), title=("step", places)))
    page.goto(save(chart, folder / "tooltip.html").as_uri())
    box = page.locator("svg .role-scope .background").first.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.move(box["x"] + 380, box["y"] + 90)
    page.wait_for_selector("#vg-tooltip-element.visible")
    return str(page.locator("#vg-tooltip-element").inner_text())


@pytest.mark.parametrize("kind", ["report", "demo"])
def test_a_page_holds_them_as_text(kind: str, tmp_path: Path) -> None:
    if kind == "demo":
        write_demo(tmp_path / "demo.html")
        written = (tmp_path / "demo.html").read_text(encoding="utf-8")
    else:
        written = reported().html()
    said = re.sub(r"<script[ >].*?</script>", "", written, flags=re.DOTALL)
    assert not any(text in said for text in UNDRAWN if text not in "\t\n\r")
    for begins in ("<img", "<svg onload", "<script>alert"):
        assert begins not in said
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in said
