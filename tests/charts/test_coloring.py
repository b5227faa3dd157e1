"""Colors of stages: no color means two names, and what has none of its own is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr

from aadsl.charts import CHARTS, theme
from aadsl.charts.brushing import brushable
from aadsl.charts.coloring import colored, furthest
from jupyter_ext.explorer.payload import header_of
from jupyter_ext.explorer.widget import STATIC
from tests.charts.answers import many_stages
from tests.charts.test_timeline import rows_of
from tests.notebook.lab import FLAGS, apart, chromium

DRAWN = {name: chart().draw for name, chart in CHARTS.items()} | {"brushable": brushable}


def scales_of(part: Any) -> Iterator[tuple[list[str], list[str]]]:
    """Yield names and colors of every scale in a specification that gives names their colors."""
    if isinstance(part, dict):
        scale = part.get("scale")
        if isinstance(scale, dict) and part.get("type") == "nominal" and "range" in scale:
            yield scale["domain"], scale["range"]
        for inner in part.values():
            yield from scales_of(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from scales_of(inner)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("stages", [6, 7, 40])
def test_no_color_is_shown_twice(name: str, stages: int) -> None:
    for names, colors in scales_of(DRAWN[name](many_stages(stages)).to_dict()):
        assert len(set(names)) == len(names) == len(colors) == len(set(colors))
        assert len(set(colors) & set(theme.STAGES)) == min(stages, 6)
        lines = min(stages, 12) if name == "cumulative" else stages
        assert (f"{lines - 6} more" in names) == (theme.MORE in colors) == (lines > 6)


def test_some_charts_color_by_stage() -> None:
    """So that the check above looks at something."""
    found = {name for name, draw in DRAWN.items() if any(scales_of(draw(many_stages(7)).to_dict()))}
    assert found >= {"timeline", "cumulative", "brushable"}


def test_steps_of_stages_without_a_color_keep_the_names_of_their_stages() -> None:
    bars = [row for row in rows_of(CHARTS["timeline"]().draw(many_stages(9))) if "effect" in row]
    grouped = [row for row in bars if row["shown"] == "3 more"]
    assert len({row["group"] for row in grouped}) == 3 and "3 more" not in {row["group"] for row in bars}


def test_the_furthest_have_colors_of_their_own_whatever_the_unit() -> None:
    effects = np.array([[1.0, 0], [-9, 0], [2, 0], [0, 1e-6], [3, np.nan], [0, -1e-7]])
    assert furthest(effects, 3).tolist() == [1, 3, 4]
    assert furthest(np.zeros((3, 0)), 2).tolist() == [0, 1]
    names = list("abcdefgh")
    given = colored(names, np.arange(8.0)[:, None])
    assert list(given.colors) == ["c", "d", "e", "f", "g", "h", "2 more"]
    assert [given.shown(name) for name in "ac"] == ["2 more", "c"]
    assert colored([*names, "3 more"], np.zeros((9, 1))).rest == "and 3 more"


def explored(dataset: xr.Dataset) -> dict[str, Any]:
    return header_of(dataset, can_retrain=False)[0]


def test_the_explorer_gives_its_colors_to_the_same_stages() -> None:
    data = many_stages(40)
    (domain, _), *_ = scales_of(CHARTS["timeline"]().draw(data).to_dict())
    header = explored(data)
    (column,) = (column for column in header["columns"] if column["name"] == "stage")
    assert column["categories"][:6] == domain[:6] and set(column["categories"]) == {*data["stage"].values}
    assert header["palette"]["stages"] == list(theme.STAGES) and header["palette"]["more"] == theme.MORE


@pytest.mark.browser
@apart
@pytest.mark.parametrize("stages", [6, 7, 40])
def test_the_legend_of_the_explorer_shows_no_color_twice(stages: int) -> None:
    from playwright.sync_api import sync_playwright

    header = explored(many_stages(stages, outside=True))
    (column,) = (column for column in header["columns"] if column["name"] == "stage")
    code = "".join((STATIC / part).read_text(encoding="utf-8") for part in ("dom.js", "colors.js"))
    script = f"""([palette, none, column]) => {{
      {code}
      const values = column.categories.map((_, code) => code), byStage = new Map(), full = {{ ...column, values }};
      const {{ color, legend }} = coloring({{ palette, none, byStage, byName: new Map([['stage', full]]) }}, 'stage');
      const ends = [0, 1].map(share => ramp(share, palette.numbers.map(channels)));
      return [legend.map(item => [item.label, item.paint || '']), values.map(color), ends];
    }}"""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        legend, colors, ends = browser.new_page().evaluate(script, [header["palette"], header["none"], column])
        browser.close()
    assert ends == [f"rgb({','.join(str(int(c[i : i + 2], 16)) for i in (1, 3, 5))})" for c in theme.SEQUENTIAL[::3]]
    painted = [(label, paint) for label, paint in legend if paint]
    assert len({paint for _, paint in painted}) == len(painted) == 6 + (stages > 6) + 1
    assert (f"{stages - 6} more" in dict(painted)) == (stages > 6)
    assert len(legend) == len(painted) + min(max(stages - 6, 0), 6)
    shown = dict(painted)
    for name, color in zip(column["categories"], colors, strict=True):
        assert color == shown.get(name, theme.MORE)
