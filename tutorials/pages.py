"""Writes what the README and the pages of this folder show: pictures from the executed notebooks, measured tables.

    python tutorials/pages.py

A picture is a chart of a notebook, as it was saved with it. A table stands between two comments, the first of which
names the measurement and the section that it is from: ``<!-- exact.md: costs -->`` … ``<!-- end -->``.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from pathlib import Path

HERE = Path(__file__).parent
MEASURED = HERE.parent / "tests"
PICTURES = HERE / "pictures"
CHARTS = {"01": 2, "02": 0, "03": 2, "04": 0, "05": 0, "06": 0, "07": 1, "08": 0, "09": 1}
"""Which chart of each notebook is its picture, counted from 0."""
INCLUDED = re.compile(r"(<!-- (\w+\.md): (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    return [HERE.parent / "README.md", *sorted(HERE.glob("*.md"))]


def picture(number: str) -> bytes:
    """Return the picture of a notebook, PNG."""
    (path,) = HERE.glob(f"{number}-*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    shown = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    charts = [data["image/png"] for data in shown if "application/vnd.vegalite.v5+json" in data]
    return b64decode("".join(charts[CHARTS[number]]))


def table(file: str, section: str, page: Path) -> str:
    """Return the first table of a section of a measurement, after the line that says when and where it was measured."""
    (path,) = MEASURED.glob(f"*/{file}")
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.lstrip("# ") == section)
    first = next(number for number in range(start, len(lines)) if lines[number].startswith("|"))
    last = next((number for number in range(first, len(lines)) if not lines[number].startswith("|")), len(lines))
    dated = [line for line in lines[:first] if re.match(r"20\d\d-\d\d-\d\d", line)]
    link = Path(os.path.relpath(path, page.parent)).as_posix()
    return "\n".join([f"*{dated[-1]}* ([{file}]({link}))", "", *lines[first:last], ""])


def written(page: Path, text: str | None = None) -> str:
    """Return a page, or what is to be its text, with every table that it includes as it is measured now."""
    text = page.read_text(encoding="utf-8") if text is None else text
    return INCLUDED.sub(lambda found: found[1] + table(found[2], found[3], page) + found[4], text)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for number in CHARTS:
        (PICTURES / f"{number}.png").write_bytes(picture(number))
    for page in pages():
        page.write_text(written(page), encoding="utf-8")


if __name__ == "__main__":
    main()
