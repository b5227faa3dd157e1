"""Measures what the README and the pages quote, and writes it there: ``make figures``, or ``make figures PART=exact``.

Each part is a command that writes its own file beside this one, with the day and the machine; then the README and the
pages of the tutorials take their tables from these files, as ``make figures PART=pages`` does alone. Say which parts,
for all of them take hours; times are those of one calm core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import NamedTuple

from tests.benchmarks.report import HERE, ROOT


class Part(NamedTuple):
    """What is run: modules of this folder with their options; and about how long that takes."""

    commands: tuple[str, ...]
    takes: str


PARTS = {
    "cost": Part(("cost", "growth"), "10 minutes"),
    "recording": Part(("bare_recording", "recording"), "an hour"),
    "attribution": Part(("attribution",), "an hour"),
    "exact": Part(("exact",), "half an hour"),
    "fidelity": Part(("fidelity",), "half an hour"),
    "intervals": Part(("intervals",), "hours; python -m tests.benchmarks.intervals --processes 8 spreads them"),
    "scale": Part(("scale --again",), "half an hour, and 16 GB of memory; without --again it goes on where it was"),
}
PAGES = "pages"


def measure(part: Part) -> None:
    for command in part.commands:
        module, *options = command.split()
        subprocess.run([sys.executable, "-m", f"tests.benchmarks.{module}", *options], check=True, cwd=ROOT)


def include() -> None:
    """Let the README and the pages quote what is measured."""
    subprocess.run([sys.executable, ROOT / "tutorials" / "pages.py"], check=True, cwd=ROOT)


def main(given: list[str] | None = None) -> None:
    listed = [f"  {name:12} {part.takes}" for name, part in PARTS.items()]
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(["parts, and about what each takes:", *listed, f"  {PAGES:12} seconds; nothing is measured"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", default=[*PARTS], metavar="part")
    parts = parser.parse_args(given).parts
    unknown = [name for name in parts if name not in (*PARTS, PAGES)]
    if unknown:
        parser.error(f"no part is called {unknown[0]!r}; there are {', '.join((*PARTS, PAGES))}")
    for name in parts:
        if name in PARTS:
            begun = time.monotonic()
            measure(PARTS[name])
            print(f"{HERE.name}/{name}.md is written, after {(time.monotonic() - begun) / 60:.0f} minutes", flush=True)
    include()


if __name__ == "__main__":
    main()
