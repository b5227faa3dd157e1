import base64
import json
import zlib

import numpy as np
import pytest
import vl_convert
import xarray as xr

from aadsl.charts import CHARTS, mimebundle, save
from aadsl.charts.bundle import MIME
from aadsl.charts.png import SIGNATURE, encode, smaller
from aadsl.charts.thumbnails import thumbnails, with_thumbnails
from aadsl.core.errors import AadslError
from tests.charts.answers import answer
from tests.charts.test_evidence import subtitle
from tests.charts.test_timeline import rows_of


@pytest.mark.parametrize("steps", [60, 20_000])
def test_a_cumulative_line_ends_at_the_effect_of_its_stage(steps):
    data = answer(steps=steps, behaviors=("backdoor",))
    rows = [row for row in rows_of(CHARTS["cumulative"]().draw(data, by="source")) if "sum" in row]
    assert len(rows) < 6000
    for stage in ("source[badnet]", "source[clean]"):
        last = max((row for row in rows if row["stage"] == stage), key=lambda row: row["step"])
        assert last["sum"] == pytest.approx(float(data["effect"].sel(stage=stage, behavior="backdoor")), rel=1e-5)


def test_many_stages_leave_the_largest_lines_and_say_so():
    data = answer(behaviors=("backdoor",))
    stages = [f"window {i}" for i in range(30)]
    member = np.eye(30, 60, dtype=bool)
    effect = member @ data["step_effect"].values
    data = data.drop_dims("stage").assign(member=(("stage", "step"), member), effect=(("stage", "behavior"), effect))
    chart = CHARTS["cumulative"]().draw(data.assign_coords(stage=stages))
    drawn = {row["stage"] for row in rows_of(chart) if "sum" in row}
    assert drawn == {stages[i] for i in np.argsort(-np.abs(effect[:, 0]))[:12]}
    assert "12 largest of 30" in str(chart.to_dict()["title"])


def test_cells_of_the_heatmap_are_relative_to_their_behavior():
    data = answer(trust=True)
    data["effect"] = data["effect"] * [1, 1000]
    rows = rows_of(CHARTS["heatmap"]().draw(data))
    for behavior in ("backdoor", "digits"):
        column = [row for row in rows if row["behavior"] == behavior]
        assert max(abs(row["share"]) for row in column) == 1
        assert all(np.sign(row["share"]) == np.sign(row["effect"]) for row in column)
    assert [row["label"].endswith("?") for row in rows] == [row["trust"] == "low" for row in rows]


def test_no_effect_at_all_has_no_color():
    data = answer()
    data["effect"] = data["effect"] * 0
    assert {row["share"] for row in rows_of(CHARTS["heatmap"]().draw(data))} == {0}


def test_every_example_is_a_dot_with_its_picture():
    data = answer(behaviors=("backdoor",), examples=30)
    pictures = np.random.default_rng(0).random((30, 1, 28, 28))
    rows = rows_of(CHARTS["examples"]().draw(with_thumbnails(data, {"backdoor": pictures})))
    dots = [row for row in rows if "effect" in row]
    assert len(dots) == 4 * 30
    for row in dots[::17]:
        value = data["example_effect"].sel(stage=row["stage"], behavior="backdoor", example=row["example"])
        assert row["effect"] == pytest.approx(float(value), rel=1e-5)
    assert sum(row.get("image", "").startswith("data:image/png") for row in rows) == 30  # once, not once a stage


def test_many_examples_keep_their_extremes():
    data = answer(behaviors=("backdoor",), examples=5000)
    dots = [row for row in rows_of(CHARTS["examples"]().draw(data)) if "effect" in row]
    assert len(dots) < 4 * 600
    assert f"{len(dots)} of 20,000 effects are drawn" in subtitle(CHARTS["examples"]().draw(data))
    for stage in data["stage"].values:
        drawn = [row["effect"] for row in dots if row["stage"] == stage]
        true = data["example_effect"].sel(stage=stage, behavior="backdoor")
        assert (min(drawn), max(drawn)) == pytest.approx((float(true.min()), float(true.max())), rel=1e-5)


@pytest.mark.parametrize(("stages", "examples", "behaviors"), [(4, 800, 1), (8, 200, 2)])
def test_a_strip_takes_no_more_than_300_kb_of_a_notebook(stages, examples, behaviors):
    names = [f"what behavior number {k} of all reads" for k in range(behaviors)]
    rng = np.random.default_rng(0)
    effect = rng.normal(size=(stages, behaviors, examples))
    stage = [f"a stage with a rather long name, number {k}" for k in range(stages)]
    data = xr.Dataset(
        {"example_effect": (("stage", "behavior", "example"), effect)},
        {"stage": stage, "behavior": names, "example": np.arange(examples)},
    )
    shown = with_thumbnails(data, {name: rng.random((examples, 3, 32, 32)) for name in names})
    bundle = mimebundle(CHARTS["examples"]().draw(shown))
    spec = json.dumps(bundle[MIME])
    assert len(spec) + len(base64.b64encode(bundle["image/png"])) < 300_000
    furthest = np.unravel_index(np.abs(effect).argmax(), effect.shape)
    assert str(shown["thumbnail"].values[furthest[1], furthest[2]]) in spec


def test_texts_are_shown_as_texts():
    data = answer(behaviors=("backdoor",), examples=2)
    rows = rows_of(CHARTS["examples"]().draw(with_thumbnails(data, {"backdoor": ["<b>one</b>", "x" * 999]})))
    texts = [row["text"] for row in rows if "text" in row]
    assert texts == ["<b>one</b>", "x" * 159 + "…"]


def decoded(picture):
    """The bytes of all lines of a picture, read without the code under test."""
    parts, place = {}, 8
    while place < len(picture):
        length = int.from_bytes(picture[place : place + 4], "big")
        name, body = picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]
        assert zlib.crc32(name + body) == int.from_bytes(picture[place + 8 + length : place + 12 + length], "big")
        parts[name] = parts.get(name, b"") + body
        place += 12 + length
    assert list(parts)[-1] == b"IEND"
    return zlib.decompress(parts[b"IDAT"])


def test_a_picture_is_a_true_png():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    lines = np.frombuffer(decoded(encode(pixels)), np.uint8).reshape(5, 1 + 7 * 3)
    assert not lines[:, 0].any()
    np.testing.assert_array_equal(lines[:, 1:].reshape(5, 7, 3), pixels)


def test_a_smaller_picture_is_the_same_picture():
    large = vl_convert.vegalite_to_png(CHARTS["timeline"]().draw(answer()).to_dict())
    small = smaller(large)
    assert small.startswith(SIGNATURE)
    assert len(small) < len(large) / 2
    assert decoded(small) == decoded(large)


def test_pictures_of_any_layout():
    rng = np.random.default_rng(0)
    for shape in ((2, 28, 28), (2, 1, 28, 28), (2, 3, 32, 32), (2, 32, 32, 3), (2, 784), (2, 300, 200)):
        shown = thumbnails(rng.random(shape))
        assert len(shown) == 2
        assert base64.b64decode(shown[0].split(",")[1]).startswith(b"\x89PNG")
        assert len(shown[0]) < 40_000
    assert thumbnails(rng.random((2, 10))) == []
    assert thumbnails(None) == []


def test_an_unknown_picture_format_names_the_known(tmp_path):
    with pytest.raises(AadslError, match=r'no picture format "\.svgg"') as error:
        save(CHARTS["bars"]().draw(answer()), tmp_path / "chart.svgg")
    assert 'did you mean ".svg"' in str(error.value)


def test_no_single_examples_says_how_to_ask():
    with pytest.raises(AadslError, match="per example"):
        CHARTS["examples"]().draw(answer())


def test_a_run_without_a_schedule_says_what_it_has():
    with pytest.raises(AadslError, match="tag, epoch"):
        CHARTS["schedule"]().draw(answer().drop_vars(["lr", "momentum", "loss", "phase"]))
