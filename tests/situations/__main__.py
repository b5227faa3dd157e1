"""Try all situations and print what is answered beside what a plain loop gives."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import torch

from tests.situations.harness import tried
from tests.situations.loops import LOOPS
from tests.situations.sound import NOT_SOUND, SOUND


def main() -> None:
    """Print a row for each situation."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| situation | answer | truth | verdict | refusal |\n| --- | ---: | ---: | --- | --- |")
    for name, situation in (LOOPS | NOT_SOUND | SOUND).items():
        with tempfile.TemporaryDirectory() as folder:
            found = tried(situation, Path(folder) / "run")
        answer = "" if found.answer is None else f"{found.answer:+.5f} ({found.trust})"
        unexpected = "" if found.word == situation.expected else f", not {situation.expected} as expected"
        said = found.said.partition("\n")[0]
        print(f"| {name} | {answer} | {found.truth:+.5f} | {found.word}{unexpected} | {said} |", flush=True)


if __name__ == "__main__":
    main()
