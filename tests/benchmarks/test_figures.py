"""One command measures what is quoted, and the pages quote it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import figures
from tests.benchmarks.report import HERE, ROOT

PAGES = runpy.run_path(str(ROOT / "tutorials" / "pages.py"))
QUOTED = {found[2] for page in PAGES["pages"]() for found in PAGES["INCLUDED"].finditer(page.read_text("utf-8"))}


def test_every_file_that_is_quoted_has_its_part() -> None:
    assert {"cost.md", "exact.md", "fidelity.md", "intervals.md", "scale.md"} <= QUOTED
    own_target = {"peers"}  # it installs other libraries
    assert {Path(file).stem for file in QUOTED} - own_target <= set(figures.PARTS)
    modules = {command.split()[0] for part in figures.PARTS.values() for command in part.commands}
    assert [name for name in modules if not (HERE / f"{name}.py").exists()] == []


def test_parts_are_run_and_then_quoted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ran.append([str(part) for part in command]))
    figures.main(["recording", "scale"])
    pages = [sys.executable, str(ROOT / "tutorials" / "pages.py")]
    run = [sys.executable, "-m"]
    benchmarks = [[*run, f"tests.benchmarks.{name}"] for name in ("bare_recording", "recording")]
    assert ran == [*benchmarks, [*run, "tests.benchmarks.scale", "--again"], pages]
    ran.clear()
    figures.main(["pages"])
    assert ran == [pages]
    with pytest.raises(SystemExit):
        figures.main(["fidelty"])
    assert ran == [pages] and "no part is called 'fidelty'" in capsys.readouterr().err


def test_the_help_says_what_each_part_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        figures.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"{name:12} {part.takes}" in said for name, part in figures.PARTS.items())
