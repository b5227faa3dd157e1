"""What is saved is all there or not at all, is told when it replaces something, and never replaces a recording."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest
import torch
import xarray as xr
from torch import nn

import aadsl
from aadsl.charts import save as save_chart
from aadsl.core.files import effects_of, place_for, replacing
from aadsl.statements.report import write_report
from aadsl.statements.save import MODELS, PICTURES, REPORTS, WRITERS
from tests.digits import Recorded, record

EXTENSIONS = [*WRITERS, *REPORTS, *PICTURES, *MODELS]
QUESTION = "load study\nstage early = steps[0:2]\nbehavior b = loss on some\nscore early on b\nplot bars\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("saving") / "digits")


def saving(run: Recorded, path: Path | str) -> str:
    """Ask and save; return what is printed."""
    without = " without early" if Path(path).suffix in MODELS else ""
    names = {"study": run.study(), "some": (run.data[0][:20], run.data[1][:20])}
    return str(aadsl.run(f'{QUESTION}save "{path}"{without}', names))


def problem_of(run: Recorded, path: Path | str) -> Any:
    with pytest.raises(aadsl.AadslError) as raised:
        saving(run, path)
    (problem,) = raised.value.problems
    assert problem.hint
    return problem


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_is_saved_again_while_it_is_open(run: Recorded, tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"saved ü{extension}"
    assert f"saved {path}" in (said := saving(run, path)) and "in the place of" not in said
    first = path.read_bytes()
    opened = xr.open_dataset(path) if extension == ".nc" else path.open("rb")
    assert f"saved {path}, in the place of the file that was there" in saving(run, path)
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_size > len(first) / 2
    if isinstance(opened, xr.Dataset):
        assert opened["effect"].shape == (1, 1)  # whoever has the old file open reads on
        assert xr.open_dataset(path)["effect"].shape == (1, 1)
    else:
        assert opened.read() == first
    opened.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse longer files, as a full disk does."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(os.name != "posix", reason="limits sizes by what POSIX has")
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_full_disk_leaves_the_old_file(run: Recorded, tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"saved{extension}"
    path.write_bytes(b"old")
    names = {"study": run.study(), "some": (run.data[0][:20], run.data[1][:20])}
    result = aadsl.run(QUESTION, names)
    study = result.study
    answer = result.session.answers[-1].dataset
    with files_of_at_most(16), pytest.raises(aadsl.AadslError, match="cannot be written") as raised:
        if extension in MODELS:
            study.save_counterfactual(path, "early")
        elif extension in REPORTS:
            write_report(result.session.answers[-1], path)
        elif extension in PICTURES:
            save_chart(result.session.chart, path)
        else:
            with replacing(path) as unfinished:
                WRITERS[extension](answer, unfinished)
    assert raised.value.problems[0].hint
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


BESIDE = ["run.nc", "scores.nc", "deeper/../scores.csv", "../linked/chart.svg", "../digits.effects/scores.nc"]


@pytest.mark.parametrize("place", BESIDE)
def test_nothing_is_saved_into_a_recording(run: Recorded, place: str) -> None:
    link = run.path.with_name("linked")
    if not link.exists():
        link.symlink_to(run.path)
    (run.path / "deeper").mkdir(exist_ok=True)
    before = {path: path.read_bytes() for path in run.path.glob("*.nc")}
    problem = problem_of(run, run.path / place)
    assert "belongs to a recording" in problem.message and problem.span is not None
    assert {path: path.read_bytes() for path in run.path.glob("*.nc")} == before
    assert aadsl.open_trajectory(run.path).verify().ok


def test_nor_in_the_place_of_a_file_of_one_by_any_name(run: Recorded, tmp_path: Path) -> None:
    os.link(run.path / "run.nc", tmp_path / "hard.nc")
    (tmp_path / "soft.nc").symlink_to(run.path / "run.nc")
    aadsl.open_trajectory(run.path).to_netcdf(tmp_path / "run.nc")
    for name in ("hard.nc", "soft.nc", "run.nc"):
        assert "belongs to a recording" in problem_of(run, tmp_path / name).message
    assert "saved" in saving(run, tmp_path / "scores.nc")  # beside a whole run in one file
    aadsl.open_trajectory(run.path).to_netcdf(tmp_path / "run.nc")  # the same again


def test_places_where_there_can_be_no_file(run: Recorded, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for place, said in {
        tmp_path / "folder.csv": "is a folder",
        tmp_path / "pipe.csv": "a device or a pipe",
        "/dev/null/scores.csv": "there is no folder",
        tmp_path / "none" / "scores.csv": "there is no folder",
        "~nobody_of_this_name/scores.csv": "home directory",
        tmp_path / f"{'x' * 300}.csv": "name too long",
    }.items():
        assert said in problem_of(run, place).message.lower(), place
    with pytest.raises(aadsl.AadslError, match="null"):
        place_for("a\0b.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.csv", "pipe.csv"]


def test_names_that_nothing_can_have(run: Recorded) -> None:
    """Wherever a path is given, to be written or to be read."""
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    trajectory = aadsl.open_trajectory(run.path)
    takes: list[Callable[[str], Any]] = [
        lambda path: aadsl.Recorder(path, net, optimizer),
        aadsl.open_trajectory,
        lambda path: aadsl.run(f'load "{path}" with model=net, loss=net, data=net', {"net": net}),
        lambda path: trajectory.to_netcdf(f"{path}.nc" if path else path),
        place_for,
    ]
    for name in ("", "a\0b", "~nobody_of_this_name/run", "x" * 300, "a\ud800b"):
        for take in takes:
            with pytest.raises(aadsl.AadslError) as raised:
                take(name)
            assert all(problem.hint for problem in raised.value.problems)
    for address in ("http://[bad/run", "file://"):
        with pytest.raises(aadsl.AadslError, match=r"no address|no trajectory"):
            aadsl.open_trajectory(address)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_name_as_long_as_the_system_allows(run: Recorded, tmp_path: Path, extension: str) -> None:
    path = tmp_path / ("x" * (255 - len(extension)) + extension)
    saving(run, path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_a_run_of_the_longest_name_is_asked_like_any_other(run: Recorded, tmp_path: Path, letter: str) -> None:
    path = tmp_path / (letter * (252 // len(letter.encode())))
    copytree(run.path, path, ignore=ignore_patterns("deeper"))
    again = replace(run, path=path)
    assert "saved" in saving(again, tmp_path / "scores.nc")
    (effects,) = tmp_path.glob("*.effects")
    assert "saved" in saving(again, tmp_path / "more.nc") and list(tmp_path.glob("*.effects")) == [effects]


def test_runs_whose_long_names_begin_alike_share_nothing(tmp_path: Path) -> None:
    names = ["x" * 251 + end for end in "ab"]
    assert len({effects_of(tmp_path / name) for name in names}) == 2
    assert all(len(effects_of(tmp_path / name).name.encode()) <= 255 for name in names)
    assert effects_of(tmp_path / "run") == tmp_path / "run.effects"


def test_a_folder_that_only_looks_like_effects(tmp_path: Path) -> None:
    (tmp_path / "my.effects").mkdir()
    assert place_for(tmp_path / "my.effects" / "scores.nc").name == "scores.nc"
