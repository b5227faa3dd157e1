"""A file of measurements: one section for each part, each with the day and the machine that it was measured on.

Commands write sections; a part that is measured anew takes the place of what it found before, and the others stay.
Pages quote the tables (``tutorials/pages.py``), each with its section's date.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def stamp() -> str:
    """Return the day and the machine, in a line: what every figure is told with."""
    threads = torch.get_num_threads()
    used = "one used" if threads == 1 else f"{threads} used"
    versions = f"PyTorch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    return f"{date.today()}, {versions}, {os.cpu_count()} cores, {used}; load {os.getloadavg()[0]:.1f}."


def write_section(file: Path, title: str, section: str, about: str, lines: Iterable[str], measured: str = "") -> None:
    """Put a section into a file of measurements, in the place of the one of that name, or at its end.

    Args:
        file: the file, which need not be there.
        title: its heading.
        section: the section's name.
        about: what was measured.
        lines: the table, or whatever was found.
        measured: when and on what, if that is not here and now.
    """
    body = "\n".join([*([" ".join(about.split()), ""] if about else []), measured or stamp(), "", *lines])
    sections = {**sections_of(file), section: body}
    text = "".join(f"\n## {name}\n\n{own}\n" for name, own in sections.items())
    file.write_text(f"# {title}\n{text}", encoding="utf-8")


def rows_of(file: Path, section: str) -> dict[str, str]:
    """Return the rows of a section's table by their first cell: a call that asks about some keeps the others."""
    lines = sections_of(file).get(section, "").splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


def when(rounds: int) -> str:
    """Return the last cell of such a row: when it was asked, and how often."""
    return f"{date.today()}, {rounds} round{'s' * (rounds > 1)}, load {os.getloadavg()[0]:.1f}"


def sections_of(file: Path) -> dict[str, str]:
    """Return the text of each section of a file by its name; nothing where there is no file."""
    if not file.exists():
        return {}
    parts = file.read_text(encoding="utf-8").split("\n## ")[1:]
    return {name: own.strip("\n") for name, _, own in (part.partition("\n") for part in parts)}
