"""The demonstration that ``make demo`` shows, run as a user runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.notebook.lab import LIMIT, apart

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder that the demonstration wrote, and what it printed."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "tutorials/demo.py", "--out", str(out), "--picture", str(out / "timeline.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a newcomer should see no warning"
    return out, done.stdout


def test_it_finds_both_bad_shipments(demo: tuple[Path, str]) -> None:
    _, said = demo
    assert "helped the backdoor most are 100, 101, 102, 103, 104;" in said
    assert "hurt the reading of digits most are 30, 31, 32, 33, 34;" in said


def test_its_estimates_agree_with_retraining(demo: tuple[Path, str]) -> None:
    out, _ = demo
    with xr.open_dataset(out / "scores.nc") as scores:
        for behavior in ("backdoor", "digits"):
            exact, estimate = scores.retrained_effect.sel(behavior=behavior), scores.effect.sel(behavior=behavior)
            assert np.corrcoef(exact, estimate)[0, 1] > 0.97
        assert float(scores.retrained_effect.sel(stage="poisoned", behavior="backdoor")) > 0.5
        assert float(scores.retrained_effect.sel(stage="mislabeled", behavior="digits")) < 0


def test_it_says_where_to_look(demo: tuple[Path, str]) -> None:
    out, said = demo
    assert f"the page: {out / 'index.html'}" in said
    assert (out / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_needs_no_other_file(demo: tuple[Path, str]) -> None:
    page = (demo[0] / "index.html").read_text()
    assert len(page) < 3_000_000
    without_code = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=(?!\"data:)", without_code) == []
    assert without_code.count("<svg") == 4, "a picture of every chart, for readers without scripts"


@pytest.mark.browser
@apart
def test_the_page_draws_its_charts_offline(demo: tuple[Path, str]) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here")
    from playwright.sync_api import Route, sync_playwright

    asked, errors = [], []

    def keep_home(route: Route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page()
        page.set_default_timeout(1000 * LIMIT)
        page.route("**/*", keep_home)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((demo[0] / "index.html").as_uri())
        page.wait_for_function("document.querySelectorAll('.chart.vega-embed svg').length >= 4")
        browser.close()
    assert (asked, errors) == ([], [])
