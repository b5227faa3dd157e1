"""The command says what the library says, and its exit code tells scripts whether all is well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aadsl.__main__ import main
from aadsl.trajectory import Recorder
from tests.trajectory.loops import DATA, sgd, small_model, train

NAMES = """
from tests.trajectory.loops import DATA as data, mean_loss as loss, small_model
model = small_model()
"""


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    model = small_model()
    optimizer = sgd(model)
    with Recorder(tmp_path / "run", model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 9)
    (tmp_path / "names.py").write_text(NAMES)
    return tmp_path / "run"


def test_info(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run_folder)]) == 0
    said = capsys.readouterr().out
    assert "9 steps of SGD" in said and "torch: " in said


def test_verify(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run_folder), "--names", str(run_folder.parent / "names.py")]) == 0
    assert "9 steps in 4 stretches were replayed" in capsys.readouterr().out
    (run_folder / "state-2.nc").unlink()
    (run_folder / "state-0.nc").write_bytes(b"nothing")
    assert main(["verify", str(run_folder)]) == 1
    assert "state-0.nc is cut short" in capsys.readouterr().out


def test_verify_with_names_that_are_not_there(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["verify", str(run_folder), "--names", str(run_folder.parent / "names.py"), "--model", "modle"]
    assert main(arguments) == 1
    assert 'did you mean "model"?' in capsys.readouterr().err
    assert main(["verify", str(run_folder), "--names", "nowhere.py"]) == 1
    assert "nowhere.py is no Python file" in capsys.readouterr().err


def test_run(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = run_folder.parent / "program.aascore"
    program.write_text(
        f'load "{run_folder}" with model=model, loss=loss, data=data, device="cpu"\n'
        'stage bad = batches where tag=="bad"\n'
        "behavior good = loss on data\n"
        "score bad on good\n"
        "plot bars\n"
    )
    charts = run_folder.parent / "charts"
    arguments = ["run", str(program), "--names", str(run_folder.parent / "names.py"), "--charts", str(charts)]
    assert main(arguments) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "effect" in said and "chart-1.html" in said
    assert (charts / "chart-1.html").stat().st_size > 1000


@pytest.mark.parametrize(("losses", "code"), [(["loss"], 0), (["twice"], 1), (["twice", "loss"], 1), ([], 0)])
def test_run_exits_with_1_where_a_trajectory_fails(
    run_folder: Path, capsys: pytest.CaptureFixture[str], losses: list[str], code: int
) -> None:
    """Everything is printed all the same, what comes after the failure too."""
    names, program = run_folder.parent / "names.py", run_folder.parent / "program.aascore"
    names.write_text(f"{NAMES}\ndef twice(model, batch):\n    return 2 * loss(model, batch)\n")
    load = f'load "{run_folder}" with model=model, data=data, device="cpu", loss='
    program.write_text("".join(f"{load}{loss}\nverify trajectory\n" for loss in losses) + f"{load}loss\nshow stages\n")
    assert main(["run", str(program), "--names", str(names)]) == code
    said = capsys.readouterr()
    assert said.out.count("sampled examples agree") == len(losses) and "no stage" in said.out
    assert not said.err


def test_mistakes_are_said_without_a_traceback(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run_folder / "none")]) == 1
    assert "does not exist" in capsys.readouterr().err
    program = run_folder.parent / "wrong.aascore"
    program.write_text("stagee p = steps[0:1]\n")
    assert main(["run", str(program)]) == 1
    assert "line 1" in capsys.readouterr().err
    assert main(["run", str(run_folder.parent / "none.aascore")]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("x = 1\nimport no_such_module\n", ", line 2: ModuleNotFoundError: No module named"),
        ("x = (\n", ", line 1: SyntaxError: '(' was never closed"),
        ("def f():\n    return 1 / 0\n\n\nf()\n", ", line 2: ZeroDivisionError"),
        ("import sys\nsys.exit('done')\n", ", line 2: SystemExit: done"),
        ("import aadsl\naadsl.open_trajectory('none')\n", ", line 2: AadslError: none does not exist"),
    ],
)
def test_mistakes_in_the_file_of_names(
    written: str,
    said: str,
    run_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run_folder.parent)
    Path("mine.py").write_text(written)
    assert main(["verify", str(run_folder), "--names", "mine.py"]) == 1
    error = capsys.readouterr().err
    assert f"aascore: mine.py{said}" in error and "mend it there" in error and "Traceback" not in error


def test_the_file_of_names_is_a_module(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As dataclasses want it, which look up the module that they are in."""
    names = run_folder.parent / "names.py"
    kept = "@dataclass\nclass Options:\n    rate: ClassVar[float] = 0.1\n"
    names.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        f"{names.read_text()}\n{kept}"
    )
    assert main(["verify", str(run_folder), "--names", str(names)]) == 0, capsys.readouterr().err


def test_names_without_a_file_of_them(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run_folder)]) == 0
    assert "to replay steps, add --names FILE.py" in capsys.readouterr().out
    assert main(["verify", str(run_folder), "--model", "net"]) == 1
    assert "add --names FILE.py" in capsys.readouterr().err
    program = run_folder.parent / "program.aascore"
    program.write_text(f'load "{run_folder}" with model=model, loss=loss, data=data, device="cpu"\n')
    assert main(["run", str(program)]) == 1
    assert "in the file given with --names" in capsys.readouterr().err


def test_charts_where_there_is_no_folder(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = run_folder.parent / "program.aascore"
    program.write_text("help\n")
    assert main(["run", str(program), "--charts", str(program)]) == 1
    assert "File exists" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough(run_folder: Path) -> None:
    program = run_folder.parent / "program.aascore"
    program.write_text("help\n" * 3000)
    command = f"{sys.executable} -m aadsl run {program} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout and not done.stderr


def test_as_a_process(run_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aadsl", "info", str(run_folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "9 steps of SGD" in done.stdout, done.stderr
