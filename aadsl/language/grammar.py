"""The grammar: where it is, its terminals of single words, and the words that it reserves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

_DEFINED = re.compile(r"^([A-Z_]+)(?:\.-?\d+)?:", re.MULTILINE)
_USED = re.compile(r"(?<![A-Z_])_[A-Z]+(?:_[A-Z]+)*(?![A-Z_])")
_RULE = re.compile(r"^\??([a-z_]+): (.*(?:\n  \|.*)*)", re.MULTILINE)
_NAMES = re.compile(r"\b[a-z_]+\b")
_ALTERNATIVES = re.compile(r"^(AXIS|BOOLEAN)[.\d]*: /\(([\w|]+)\)", re.MULTILINE)


MARK = "[\u0300-\u036f\u3099\u309a]"
"""An accent that is a character of its own, as text copied from file names of a Mac has them."""


class Words(NamedTuple):
    """The reserved words by kind, for everything that colors programs."""

    statements: list[str]
    connectives: list[str]
    axes: list[str]
    atoms: list[str]


def grammar_file(name: str = "aascore.lark") -> Path:
    """Return a file of the grammar: beside the installed package, or in the repository where it is not installed."""
    package = Path(__file__).parents[1]
    installed = package / "_grammar" / name
    return installed if installed.exists() else package.parent / "grammar" / name


def rules_text() -> str:
    """Return the grammar as it is written."""
    return grammar_file().read_text(encoding="utf-8")


def grammar_text(rules: str) -> str:
    r"""Return the whole grammar, in which every word that a rule names has its terminal: ``_LOAD.2: /load\b/``.

    A bare keyword ``"stage"`` would let ``stagee`` be read as ``stage`` and ``e``; a name must be none of the words.
    """
    keywords = keywords_of(rules)
    reserved = "|".join([*keywords, *(word for _, words in _ALTERNATIVES.findall(rules) for word in words.split("|"))])
    terminals = "\n".join(f"_{word.upper()}.2: /{word}\\b/" for word in keywords)
    return f"{rules.replace('RESERVED)', f'{reserved})').replace('MARK', MARK)}\n{terminals}\n"


def keywords_of(rules: str) -> list[str]:
    """Return the words that stand in the rules as ``_WORD``, in the order in which they occur."""
    text = re.sub(r"//[^\n]*", "", rules)
    used = dict.fromkeys(_USED.findall(text))
    return [name[1:].lower() for name in used if name not in _DEFINED.findall(text)]


def words_of_the_grammar() -> Words:
    """Return the words that the grammar reserves; those that a statement begins with are statements."""
    rules = rules_text()
    bodies = dict(_RULE.findall(rules))

    def begins(rule: str) -> set[str]:
        first, *_ = bodies[rule].split()
        if _USED.fullmatch(first):
            return {first[1:].lower()}
        return {word for alternative in _NAMES.findall(bodies[rule]) for word in begins(alternative)}

    keywords, statements = keywords_of(rules), begins("start")
    others = {kind: words.split("|") for kind, words in _ALTERNATIVES.findall(rules)}
    return Words(
        [word for word in keywords if word in statements],
        [word for word in keywords if word not in statements],
        others["AXIS"],
        others["BOOLEAN"],
    )


def reserved_words() -> Words:
    """Return the words of ``grammar/words.json``, which JupyterLab's colors are compiled from, too."""
    return Words(**json.loads(grammar_file("words.json").read_text(encoding="utf-8")))


def write_words() -> None:
    """Write ``grammar/words.json`` anew: make words."""
    lines = [f'  "{kind}": {json.dumps(words)}' for kind, words in words_of_the_grammar()._asdict().items()]
    grammar_file("words.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
