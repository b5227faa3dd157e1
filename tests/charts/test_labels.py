"""Long names keep their ends where there is little room, and no two of them become one."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aadsl.charts import CHARTS
from aadsl.charts.brushing import brushable
from aadsl.charts.export import svg
from aadsl.charts.texts import LABEL, label_expression, labels
from aadsl.core.texts import shortened
from tests.charts.answers import many_stages

LONG = "a run over three weeks of data, learning rate 0.001, batches of 64, seed {}, {} part"
NAMES = [LONG.format(*ends) for ends in ((1, "first"), (2, "second"), (3, "third"), (4, "last"))]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=12), st.integers(16, 60))
def test_no_two_labels_are_alike_and_each_has_both_ends_and_the_room_it_may_take(names: list[str], most: int) -> None:
    found = labels(names, most)
    assert list(found) == list(dict.fromkeys(names)) and len(set(found.values())) == len(found)
    for name, label in found.items():
        cut = re.sub(r" \(\d+\)$", "", label) if label != name else label
        assert len(cut) <= most and cut[:1] == name[:1] and cut[-1:] == name[-1:]
        assert label == name or "…" in label or len(name) * 2 > most


def test_what_names_begin_with_alike_is_cut_first_and_middles_then() -> None:
    assert list(labels(NAMES).values()) == [
        "a run over thre…1, first part",
        "a run over thre…2, second part",
        "a run over thre…3, third part",
        "a run over thre…4, last part",
    ]
    assert list(labels([*NAMES[:1], "warmup"]).values()) == [shortened(NAMES[0], LABEL), "warmup"]
    assert shortened("x" * 20 + "end", 9) == "xxxx…xend" and shortened("x" * 9, 9) == "x" * 9
    assert shortened("日本語" * 10, 11) == "日本…本語"
    alike_at_both_ends = ["p" * 20 + middle + "m" * 20 for middle in "ab"]
    assert list(labels([*alike_at_both_ends, "q" * 20], 12).values()) == [
        "pppppp…mmmmm",
        "pppppp…mmmmm (2)",
        "qqqqqq…qqqqq",
    ]


@pytest.mark.parametrize("name", [*(name for name in CHARTS if name != "schedule"), "brushable"])
def test_charts_write_the_ends_of_long_names_and_no_whole_one(name: str) -> None:
    data = many_stages(len(NAMES), behaviors=("backdoor", f"on {NAMES[0]}")).assign_coords(stage=NAMES)
    draw = brushable if name == "brushable" else CHARTS[name]().draw
    texts = [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg(draw(data)))]
    assert any(re.search(r"….*part$", text) for text in texts)
    headings = 2  # lines of the title
    assert sum(len(text) > 60 and text.endswith("part") for text in texts) <= headings
    if name != "agreement":  # whose points have names on hover alone
        assert set(labels(NAMES).values()) <= set(texts)


def test_an_expression_is_written_only_where_it_changes_something() -> None:
    assert label_expression(["short", "x" * LABEL]) == ""
    assert "indexof" in label_expression(["short", "x" * (LABEL + 1)])


@pytest.mark.parametrize("name", CHARTS)
def test_no_chart_is_wider_than_a_narrow_page_leaves_it(name: str) -> None:
    """Beside two behaviors and many stages with long names, in a window of 900 pixels."""
    names = [f"a shipment of photographs from the north, delivery {k:02}" for k in range(40)]
    data = many_stages(40, ("how well it reads", "how well it writes"), steps=2000).assign_coords(stage=names)
    data = data.assign(trust=(("stage", "behavior"), np.full((40, 2), "low")))
    data = data.map(lambda values: values * 1e-5 if values.dtype == float else values)  # long numbers on axes
    drawn = svg(CHARTS[name]().draw(data))
    assert float(re.search(r'width="([\d.]+)"', drawn)[1]) < 725
