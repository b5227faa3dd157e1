"""The settings of the paper's Tables 2 and 6, on stand-ins of its data."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor

from aadsl.behaviors import BEHAVIORS
from tests.paper import celeba, comments, settings, stages, stand_ins, texts, xrays
from tests.paper.agreement import AA_SCORE, DVEMB
from tests.paper.settings import NotAtHandError, Scale, Setting
from tests.paper.test_paper import cells, numbers, written

PAPERS = {name: one for name, one in stages.SETTINGS.items() if one.paper}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    stand_ins.lay_out(folder)
    return folder


@pytest.fixture
def data(laid_out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the data, with packages that read it."""
    monkeypatch.setitem(sys.modules, "torchvision", stand_ins.VISION)
    monkeypatch.setitem(sys.modules, "torchxrayvision", stand_ins.XRAYS)
    monkeypatch.setattr(comments, "LENGTH", 16)
    return laid_out


def test_the_papers_settings_are_run_where_their_data_are(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "SETTINGS", PAPERS)
    monkeypatch.setattr(stages, "METHODS", (DVEMB, AA_SCORE, "linearized"))
    page = written("stages", tmp_path, "--data", str(data))
    assert [*PAPERS] == ["CelebA", "CivilComments", "X-rays"] and "Not run here" not in page
    last = {"CelebA": "balanced", "CivilComments": "male", "X-rays": "VinDr-CXR"}
    for name, setting in PAPERS.items():
        found = {method: numbers(cells(page, setting.title, f"{method} on {last[name]}")) for method in stages.METHODS}
        assert all(values.shape == (3,) for values in found.values())
        assert found["linearized"][2] == 1, "nothing is trained after the last stage"
        assert found["linearized"].min() > 0.99, "a small step is followed nearly exactly"
        assert np.ptp(numbers(cells(page, setting.title, f"on {last[name]}"))) > 0, "each stage does something else"
    for row, values in {"AA-Score": "0.9326 | 0.9809 | 0.7414", "DVEmb": "0.9628 | 0.9487 | 0.7025"}.items():
        assert f"| X-rays: the paper's {row} | {values} |" in page
        assert sum(line.startswith(f"| X-rays: {row} |") for line in page.splitlines()) == 1


def test_what_is_missing_is_said_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)
    monkeypatch.setattr(stages, "SETTINGS", PAPERS)
    page = written("stages", tmp_path, "--data", str(tmp_path / "nothing"))
    assert page.count("**Not run here: the data are not at hand.**") == 3 and "nothing was measured" in page
    assert page.count("Needed: the extra `aadsl[paper]`, and in the folder ") == 3
    for name, missing in {
        "CelebA": "the package `torchvision`",
        "CivilComments": f"`{comments.TABLE}`",
        "X-rays": "the package `torchxrayvision`",
    }.items():
        assert f"Missing: {missing}." in page.split(f"## {PAPERS[name].title}\n")[1].split("\n## ")[0]
        assert f"| {name}: here | not run | not run | not run |" in page
    assert capsys.readouterr().out.count("is left out. Missing:") == 3


def test_a_package_that_was_built_for_another_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(package: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(settings, "import_module", broken)
    with pytest.raises(
        NotAtHandError, match=r"`torchvision`, which cannot be imported \(operator torchvision::nms does not"
    ):
        settings.wanted("torchvision")


def refused(setting: Setting, folder: Path, scale: Scale | None = None) -> str:
    with pytest.raises(NotAtHandError) as caught:
        setting.make(folder, 0, scale or setting.scale.toy())
    return str(caught.value)


def test_each_thing_that_is_missing_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(celeba.SETTING, tmp_path).startswith("`celeba/`, or some of it")
    assert refused(celeba.SETTING, data, celeba.SETTING.scale) == "2960 of 3000 faces to train on"
    assert refused(xrays.SETTING, tmp_path) == "`xrays/ChestX-ray14/`"
    assert refused(xrays.SETTING, data, xrays.SETTING.scale) == "1176 of 1200 X-rays of ChestX-ray14"
    table, model = tmp_path / comments.TABLE, tmp_path / comments.MODEL
    table.parent.mkdir()
    table.write_text("comment_text,toxicity,split,black,male\nwell,0.1,train,0,1\n")
    model.mkdir()
    assert refused(comments.SETTING, tmp_path) == f"in `{comments.TABLE}` the column christian"
    table.write_text((data / comments.TABLE).read_text())
    assert refused(comments.SETTING, tmp_path) == f"a model in `{comments.MODEL}/`"
    (tmp_path / "xrays" / "ChestX-ray14").mkdir(parents=True)
    (tmp_path / "xrays" / "ChestX-ray14" / "gone").touch()
    assert re.fullmatch(
        r"an image of ChestX-ray14 \(.* 'xrays/ChestX-ray14/\d+\.png'\)", refused(xrays.SETTING, tmp_path)
    )

    def unreachable(weights: str) -> None:
        raise URLError("no route")

    monkeypatch.setattr(stand_ins.VISION.models, "resnet18", unreachable)
    assert refused(celeba.SETTING, data).startswith("the weights of `resnet18`, neither in PyTorch's cache")


def test_faces_are_balanced_and_each_stage_has_its_own(data: Path) -> None:
    given, faces = celeba.faces(data, 0, celeba.SETTING.scale.toy()), stand_ins.Faces(data, "train", lambda x: x)
    images = torch.cat([job.data[0] for job in given.jobs])
    at = [int((faces.images == image).flatten(1).all(1).nonzero()) for image in images]
    assert len({*at}) == 24 and torch.cat([job.data[1] for job in given.jobs]).equal(faces.attr[at, 1])
    test, (shown, blond) = stand_ins.Faces(data, "test", lambda x: x), given.tests["balanced"]
    male = [int(test.attr[(test.images == image).flatten(1).all(1), 2]) for image in shown]
    assert sorted(zip(blond.tolist(), male, strict=True)) == [(0, 0)] * 2 + [(0, 1)] * 2 + [(1, 0)] * 2 + [(1, 1)] * 2


def test_comments_mention_the_identity_of_their_stage(data: Path) -> None:
    given = comments.comments(data, 0, comments.SETTING.scale.toy())
    bad = 2 + stand_ins.WORDS.index("bad")
    assert [*given.tests] == [job.name for job in given.jobs] == ["christian", "black", "male"]
    for tokens, toxic in (*(job.data for job in given.jobs), *given.tests.values()):
        assert tokens.shape == (8, comments.LENGTH) and toxic.equal((tokens[:, 0] == bad).long())
    model, tokens = given.model.eval(), given.tests["male"][0]
    torch.testing.assert_close(model(tokens[:, :8]), model(tokens), msg="padding does not count")


def test_hearts_of_which_nothing_is_known_are_left_out_and_the_last_layer_alone_is_trained(data: Path) -> None:
    given = xrays.chests(data, 0, xrays.SETTING.scale.toy())
    assert [name for name, one in given.model.named_parameters() if one.requires_grad] == [
        "1.classifier.weight",
        "1.classifier.bias",
    ]
    for job in given.jobs:
        assert len(job.batches) == 4, "two epochs"
        (train, heart), (shown, _) = job.data, given.tests[job.name]
        assert not (train[:, None] == shown[None]).flatten(2).all(-1).any()
        assert heart.equal((train.mean((1, 2, 3)) > 0).long())


@pytest.mark.parametrize("name", stages.SETTINGS)
def test_what_is_trained_on_is_what_is_asked_about(name: str, data: Path) -> None:
    """Effects are on the negative of the loss."""
    given = stages.SETTINGS[name].make(data, 0, stages.SETTINGS[name].scale.toy())
    model = given.model.eval()
    for examples in given.tests.values():
        asked: Tensor = BEHAVIORS[given.metric](**given.options)(model, examples)
        torch.testing.assert_close(asked, -given.losses(model, examples))


def test_a_pretrained_reader_is_better_on_pieces_of_its_own() -> None:
    scale = texts.PRETRAINED.scale.toy()
    fresh, trained = (texts.writings(Path(), 0, scale._replace(pretraining=steps)) for steps in (0, 20))
    for name, pieces in fresh.tests.items():
        assert pieces[0].equal(trained.tests[name][0])
        before, after = (texts.next_character(one.model, pieces).mean() for one in (fresh, trained))
        assert after < before - 0.1
