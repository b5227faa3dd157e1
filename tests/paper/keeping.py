"""What a part of ``make paper`` measured, kept as it comes, and the page that is written of it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

Found = dict[str, Any]


def machine() -> str:
    """Return what the numbers were measured on, in words."""
    info = Path("/proc/cpuinfo")
    named = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    processor = named[0] if named else platform.machine()
    versions = f"PyTorch {torch.__version__}, Python {platform.python_version()}"
    return f"one thread of {processor} ({os.cpu_count()} cores), {versions}, float32"


@dataclass
class Part:
    """A part of the reproduction at work.

    Attributes:
        name: of the part, and of its page.
        pages: the folder of pages and pictures.
        kept: the folder of what was measured, a file for each part, a line of JSON for each measurement.
        toy: whether everything is small, which says nothing of the paper.
        data: the folder of data that are not shipped.
        told: what was measured, or found, for this page.
    """

    name: str
    pages: Path
    kept: Path
    toy: bool = False
    data: Path = Path()
    told: list[Found] = field(default_factory=list)

    def measured(self, key: str, measure: Callable[[], Found], *pictures: Path) -> Found:
        """Return what ``measure`` finds, or what it found before on this machine with this PyTorch.

        The key names the measurement within the part; ``pictures`` are those it draws, and are not to be missing.
        """
        file = self.kept / f"{self.name}.jsonl"
        drawn = file.exists() and all(picture.exists() for picture in pictures)
        for line in file.read_text().splitlines() if drawn else ():
            one = json.loads(line)
            if (one["key"], one["machine"], one["toy"]) == (key, machine(), self.toy):
                self.told.append(one)
                return one["found"]
        start = time.process_time()
        found = measure()
        one = {"key": key, "date": str(date.today()), "machine": machine(), "toy": self.toy, "found": found}
        one["seconds"] = round(time.process_time() - start, 1)
        print(f"{self.name}: {key} ({one['seconds']:g} s)", flush=True)
        self.kept.mkdir(parents=True, exist_ok=True)
        with file.open("a") as out:
            out.write(json.dumps(one) + "\n")
        self.told.append(one)
        return json.loads(json.dumps(found))

    def picture(self, name: str) -> Path:
        """Return where a picture of the page lies."""
        self.pages.mkdir(parents=True, exist_ok=True)
        return self.pages / f"{self.name}-{name}.png"

    def write(self, title: str, lines: Iterable[str]) -> Path:
        """Write the page, headed by date, machine and command."""
        body, said = [*lines], f"`python -m tests.paper {self.name}`, nothing was measured."
        if self.told:
            seconds = sum(one["seconds"] for one in self.told)
            said = (
                f"`python -m tests.paper {self.name}`, {self.days}, {'; '.join(dict.fromkeys(self._all('machine')))};"
            )
            said += f" {seconds:,.0f} s of processor time."
        if self.toy:
            said = f"**Toy size: these numbers say nothing of the paper.** {said}"
        page = self.pages / f"{self.name}.md"
        self.pages.mkdir(parents=True, exist_ok=True)
        page.write_text("\n".join([f"# {title}", "", said, "", *body]).rstrip() + "\n")
        return page

    @property
    def days(self) -> str:
        """When it was measured; nothing where nothing was."""
        days = self._all("date")
        return " to ".join(dict.fromkeys((min(days), max(days)))) if days else ""

    def _all(self, key: str) -> list[str]:
        return [one[key] for one in self.told]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table of Markdown, names at the left and numbers at the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Return mean ± standard deviation over seeds; – where a value is not finite."""
    if not np.isfinite(values).all():
        failed = int((~np.isfinite(values)).sum())
        return f"not finite in {failed} of {len(values)}"
    mean = f"{np.mean(values):.{digits}f}".replace("-", "−")
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean
