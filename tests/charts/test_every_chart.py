"""What holds for every member of ``CHARTS``: a new chart is tested by joining the table."""

import json
import struct
from functools import cache

import pytest
import vl_convert
import xarray as xr

from aadsl.charts import CHARTS, mimebundle, save
from aadsl.charts.bundle import MIME, lab_spec
from aadsl.core.errors import AadslError
from tests.charts.answers import answer

ANSWER = answer(verified=True, examples=20, trust=True, shares=True)
pytestmark = pytest.mark.parametrize("name", CHARTS)


def draw(name, dataset=ANSWER, by=None, **options):
    return CHARTS[name](**options).draw(dataset, by)


@cache
def bundled(name):
    return mimebundle(draw(name))


def test_compiles_under_the_versions_in_use(name):
    spec = bundled(name)[MIME]
    for version in ("5.8", "5.21", "6.1"):  # JupyterLab 4's own is a 5
        assert vl_convert.vegalite_to_vega(spec, vl_version=version)["marks"]


def test_is_valid(name):
    chart = draw(name)
    assert chart.to_dict() == chart.to_dict(validate=False)  # the first raises where it is not


def test_is_strict_json(name):
    dataset = ANSWER.assign_coords(accuracy=("step", [float("nan")] * ANSWER.sizes["step"]))
    json.dumps(lab_spec(draw(name, dataset)), allow_nan=False)


def test_bundle_is_plain_and_offline(name):
    bundle = bundled(name)
    assert set(bundle) == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}
    spec = bundle["application/vnd.vegalite.v5+json"]
    assert spec["$schema"].endswith("/v5.json")
    assert '"url"' not in json.dumps(spec)
    assert bundle["image/png"].startswith(b"\x89PNG")
    width, height = struct.unpack(">II", bundle["image/png"][16:24])
    assert 600 < width < 2400
    assert 100 < height < 4000


def test_says_in_words_what_is_shown(name):
    title = draw(name).to_dict()["title"]["text"]
    assert title[0].isupper()
    assert len(title.split()) >= 4
    assert "_" not in title
    assert title in bundled(name)["text/plain"]


def test_says_that_each_behavior_has_its_own_scale(name):
    """So that nobody compares lengths across behaviors; the charts that draw behaviors name them in their titles."""
    several, one = (
        draw(name, ANSWER.sel(behavior=names)).to_dict()["title"] for names in (["backdoor", "digits"], ["digits"])
    )
    said = "behavior has its own scale"
    assert (said in str(several.get("subtitle"))) == ('"backdoor"' in several["text"])
    assert said not in str(one.get("subtitle"))


def test_odd_names_reach_the_picture(name):
    """Dots, brackets, quotes and markup in names are text, not paths or tags."""
    odd = 'a.b[0]\'s "<b>"'
    renamed = ANSWER.assign_coords(behavior=[odd, "digits"], stage=[odd, "warmup", "source[a.b]", "source[c]"])
    renamed = renamed.rename(tag="my.tag[1]")
    assert vl_convert.vegalite_to_svg(draw(name, renamed).to_dict())


@pytest.mark.parametrize("ending", [".svg", ".png", ".html"])
def test_is_saved_without_the_internet(name, ending, tmp_path):
    path = save(draw(name), tmp_path / f"chart{ending}")
    written = path.read_bytes()
    assert written.startswith({".svg": b"<svg", ".png": b"\x89PNG", ".html": b"<!DOCTYPE html>"}[ending])
    assert b'src="http' not in written


def test_says_what_is_missing(name):
    empty = xr.Dataset(coords={"step": [0, 1], "stage": ["a"], "behavior": ["b"]})
    with pytest.raises(AadslError) as error:
        draw(name, empty)
    assert len(str(error.value).splitlines()) >= 2  # what, and the way out
