"""The paper's experiments: ``python -m tests.paper [PART …] [--toy]``; ``make paper`` does all of them.

Each part measures, writes a page with its date and machine, and pictures beside it. What was measured is kept, so that
a part that was interrupted goes on, and one that is done only writes its page; ``--again`` measures anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.paper import figures, stages, table1
from tests.paper.keeping import Part

PARTS = {"table1": table1.run, "figures": figures.run, "stages": stages.run}
HERE = Path(__file__).parent
KEPT = HERE.parents[1] / "runs" / "paper"
DATA = KEPT / "data"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.paper", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--toy", action="store_true", help="everything in small, which says nothing of the paper")
    parser.add_argument("--pages", type=Path, help="where pages go: beside this file, or where they are kept of toys")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where measurements are kept")
    parser.add_argument("--data", type=Path, default=DATA, help="where data lie that are not shipped, see stages.md")
    parser.add_argument("--again", action="store_true", help="measure again what is kept")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for name in options.parts or PARTS:
        pages = options.pages or (options.kept / "toy" if options.toy else HERE)
        part = Part(name, pages, options.kept, options.toy, options.data)
        if options.again:
            (options.kept / f"{name}.jsonl").unlink(missing_ok=True)
        PARTS[name](part)
        print(f"written: {part.pages / name}.md", flush=True)


if __name__ == "__main__":
    main()
