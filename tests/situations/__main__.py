"""Try situations and print what is answered beside what a plain loop gives.

python -m tests.situations              the table of all situations
python -m tests.situations plants 200   so many random changes at single steps, counted
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import torch

from tests.situations.adversarial import ADVERSARIAL
from tests.situations.harness import Situation, Verdict, tried
from tests.situations.loops import LOOPS
from tests.situations.plants import plants
from tests.situations.sound import NOT_SOUND, SOUND


def tried_anywhere(situation: Situation) -> Verdict:
    """Try a situation in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return tried(situation, Path(folder) / "run")


def table() -> None:
    """Print a row for each situation."""
    print("| situation | answer | truth | verdict | refusal |\n| --- | ---: | ---: | --- | --- |")
    for name, situation in (LOOPS | ADVERSARIAL | NOT_SOUND | SOUND).items():
        found = tried_anywhere(situation)
        answer = "" if found.answer is None else f"{found.answer:+.5f} ({found.trust})"
        unexpected = "" if found.word == situation.expected else f", not {situation.expected} as expected"
        said = found.said.partition("\n")[0].partition("does not pass verification: ")
        print(
            f"| {name} | {answer} | {found.truth:+.5f} | {found.word}{unexpected} | {said[2] or said[0]} |", flush=True
        )


def planted(count: int) -> None:
    """Print what became of random changes, by kind and length of the run."""
    verdicts: Counter[tuple[str, int, str]] = Counter()
    for plant in plants(count, seed=0):
        found = tried_anywhere(plant.situation)
        verdicts[plant.kind, plant.length, found.word] += 1
        if found.wrong:
            print(f"WRONG: {plant}: {found}", flush=True)
    print("| planted | steps | verdict | times |\n| --- | ---: | --- | ---: |")
    for (kind, length, word), times in sorted(verdicts.items()):
        print(f"| {kind} | {length} | {word} | {times} |")
    print(
        f"\n{sum(verdicts.values())} planted, {sum(n for (*_, word), n in verdicts.items() if word == 'WRONG')} wrong"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    planted(int(sys.argv[2])) if sys.argv[1:2] == ["plants"] else table()
