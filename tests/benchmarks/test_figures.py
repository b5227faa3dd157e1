"""One command measures what is quoted, and the pages quote it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import cost, figures, growth
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


def test_growth_is_told_of_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"plain training": [1.0, 2.0], "recorded training": [1.5, 3.0]}
    asked: list[int] = []

    def measured(case: cost.Case, steps: int, rounds: int, memory: bool) -> cost.Measured:
        asked.append(steps)
        return cost.Measured({name: [9.0, 9.0] for name in seconds}, seconds, {}, 0, 0, 0)

    monkeypatch.setattr(cost, "measure", measured)
    monkeypatch.setattr(cost, "digits", lambda: None)
    monkeypatch.setattr(growth, "agreement", lambda case, data, steps: 1 / steps)
    head, _, *told = growth.rows(growth.CASES["mlp"], 2)
    assert asked == [100, 200, 400] and head.startswith("| MLP") and "plain" in head and "Pearson's r" in head
    assert told[0] == "| 2,000 examples | 100 | 1.50 s | 1.50 × | 0.0100 |" and len(told) == 3
