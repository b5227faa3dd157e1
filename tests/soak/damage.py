"""Files cut short, changed, deleted, or put in the place of others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path


def damaged(victim: Path, others: Sequence[Path], dice: random.Random) -> str:
    """Damage a file; return how. ``others`` may come in its place."""
    content = bytearray(victim.read_bytes())
    place = dice.randrange(len(content))
    how = dice.choice(["cut short", "changed", "deleted", "swapped"])
    if how == "cut short":
        victim.write_bytes(content[:place])
    elif how == "changed":
        for _ in range(dice.choice([1, 1, 20])):
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        victim.write_bytes(content)
    elif how == "deleted":
        victim.unlink()
    else:
        alike = [path for path in others if path.name == victim.name]
        victim.write_bytes(dice.choice(alike or list(others)).read_bytes())
    return how
