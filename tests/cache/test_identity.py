"""What answers depend on: all that may decide a number, wherever it is installed, and what cannot be told is said."""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from aadsl.study.fingerprint import fingerprint
from aadsl.study.identity import APART, Key, engine_sources
from aadsl.study.installed import installed_as
from tests.architecture import graph, layer_of, module_of, sources
from tests.digits import Recorded, record


def test_the_engine_is_all_that_its_imports_reach() -> None:
    """From where effects are computed, checked and kept, nothing leads to a source that is not digested."""
    arrows = graph(sources())
    reached: set[str] = set()
    begun = [module for module in arrows if layer_of(module) in ("estimators", "verification", "interventions")]
    waiting = [*begun, "aadsl.study.cache", "aadsl.study.spot_check", "aadsl.study.calibration", "aadsl.study.study"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += arrows[module]
    digested = {module_of(path) for path in engine_sources()}
    # A study takes texts apart to name members of families; no number depends on it.
    assert {module for module in reached - digested if layer_of(module) != "language"} == set()
    assert {"aadsl.replayed.fitting", "aadsl.data.tables", "aadsl.trajectory.store.states"} <= reached & digested
    assert {layer_of(module) for module in digested}.isdisjoint(APART)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this interpreter finds packages in, as one that a ``.pth`` file adds."""
    monkeypatch.syspath_prepend(tmp_path)
    installed_as.cache_clear()
    return tmp_path


def installed(folder: Path, name: str, version: str = "1.2") -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("def f(x):\n    return x\n")
    described = folder / f"{name}-{version}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (described / "RECORD").write_text(f"{name}/__init__.py,,\n{name}-{version}.dist-info/METADATA,,\n")


def test_a_package_is_recognized_wherever_it_is_installed(elsewhere: Path) -> None:
    installed(elsewhere, "somewhere_installed")
    import somewhere_installed  # type: ignore[import-not-found]

    assert installed_as("somewhere_installed.part") == "somewhere_installed-1.2"
    assert fingerprint(somewhere_installed.f, somewhere_installed)
    assert installed_as("torch") == f"torch-{version('torch')}"
    assert installed_as("functools") == "functools"


def test_code_that_may_change_is_not_installed(elsewhere: Path) -> None:
    """A project that is edited: its description, of old or of new, lies beside it or elsewhere, and says nothing."""
    (elsewhere / "being_edited.py").write_text("def f(x):\n    return x\n")
    (elsewhere / "being_edited.egg-info").mkdir()
    (elsewhere / "being_edited.egg-info" / "PKG-INFO").write_text("Name: being_edited\nVersion: 1\n")
    (elsewhere / "being_edited.egg-info" / "top_level.txt").write_text("being_edited\n")
    import being_edited  # type: ignore[import-not-found]

    assert installed_as("being_edited") is installed_as("__main__") is installed_as("no_module_at_all") is None
    before = fingerprint(being_edited.f)
    exec("def f(x):\n    return x + 1\n", vars(being_edited))
    assert fingerprint(being_edited.f) != before


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("identity") / "digits")


@pytest.mark.parametrize("estimator", ["first_order", "retraining"])
def test_an_answer_says_why_it_could_not_be_kept(run: Recorded, estimator: str) -> None:
    lock, study = threading.Lock(), run.study(device="cpu")
    study.stage("early", slice(2, 9))

    def guarded(model: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> torch.Tensor:
        with lock:
            return model(examples[0])[:, 0]

    study.behavior("guarded", guarded, on=run.data, where=run.data[1].numpy() == 7)
    study.behavior("plain", "margin", on=run.data, where=run.data[1].numpy() == 7)
    said = study.score(["early"], ["guarded", "plain"], estimator=estimator).attrs["not_kept"]
    assert said == "it uses a lock, which cannot be told from another one"
    assert "not_kept" not in study.score(["early"], ["plain"], estimator=estimator).attrs


def test_a_run_that_cannot_be_told_says_so_too(run: Recorded) -> None:
    study = run.study(device="cpu", loss=_with(threading.Lock()))
    study.stage("early", slice(2, 9))
    study.behavior("seven", "margin", on=run.data, where=run.data[1].numpy() == 7)
    assert "a lock" in study.step_effects(["seven"]).attrs["not_kept"]
    assert Key(None, "why").digest is None


def _with(lock: threading.Lock):  # type: ignore[no-untyped-def]
    def loss(model, batch):  # type: ignore[no-untyped-def]
        with lock:
            return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    return loss
