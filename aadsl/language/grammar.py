"""Where the grammar is, and the words that it reserves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Words(NamedTuple):
    """The reserved words by kind, for everything that colors programs."""

    statements: list[str]
    connectives: list[str]
    axes: list[str]
    atoms: list[str]


def grammar_file(name: str = "aascore.lark") -> Path:
    """Return a file of the grammar: beside the installed package, or in the repository where it is not installed."""
    package = Path(__file__).parent.parent
    installed = package / "_grammar" / name
    return installed if installed.exists() else package.parent / "grammar" / name


def reserved_words() -> Words:
    """Return the words of ``grammar/words.json``, which JupyterLab's colors are compiled from, too."""
    return Words(**json.loads(grammar_file("words.json").read_text(encoding="utf-8")))
