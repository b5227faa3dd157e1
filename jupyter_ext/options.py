"""The options on the first line of an ``%%aascore`` cell."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from typing import Any

from aadsl.core.errors import AadslError, unknown_name


@dataclass(frozen=True)
class Options:
    """What the first line asked for; ``HELP`` has the words for each field."""

    out: str = ""
    explore: bool = False
    explain: bool = False
    format: bool = False
    quiet: bool = False
    device: str = ""
    within: str = ""


HELP = {
    "--out NAME": "bind the result to NAME in the notebook",
    "--explore": "open the explorer on the answer: drag over steps to make a stage",
    "--explain": "show what each score would compute and cost, and compute nothing",
    "--device NAME": 'compute on "cpu", "cuda" or another device of PyTorch; default: the best there is',
    "--within TIME": 'how long a score may take, such as "5 min"; within it exact answers come first; default: 30 s',
    "--format": "rewrite the cell in the language's one style, and compute nothing",
    "--quiet": "show no messages, charts or progress; errors are still shown",
}

EXAMPLES = {"out": "result", "device": "cpu", "within": '"5 min"'}


def option_names() -> list[str]:
    """Return every option as it is typed."""
    return [f"--{field.name}" for field in fields(Options)]


def parse_options(line: str) -> Options:
    """Read the first line of a cell; whatever is wrong with it is said with the way out."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise AadslError(f"the line %%aascore {line.strip()} cannot be read: {error}") from None
    options, rest = Options(), tuple(words)
    while rest:
        options, rest = _take(options, rest)
    if options.out and not options.out.isidentifier():
        raise AadslError(f'--out needs a Python name, not "{options.out}"', hint="for example: %%aascore --out result")
    return options


def _take(options: Options, words: tuple[str, ...]) -> tuple[Options, tuple[str, ...]]:
    word, _, attached = words[0].partition("=")
    name = word.removeprefix("--")
    if not word.startswith("--"):
        raise AadslError(
            f'"{words[0]}" is not an option of %%aascore',
            hint="statements start on the second line; %aascore with one percent sign runs a single statement",
        )
    if word not in option_names():
        raise AadslError(unknown_name("option", word, option_names()))
    if isinstance(getattr(options, name), bool):
        if attached:
            raise AadslError(f"{word} takes no value")
        return _set(options, name, True), words[1:]
    if attached:
        return _set(options, name, attached), words[1:]
    if len(words) < 2 or words[1].startswith("--"):
        raise AadslError(f"{word} needs a value", hint=f"for example: {word} {EXAMPLES[name]}")
    return _set(options, name, words[1]), words[2:]


def _set(options: Options, name: str, value: Any) -> Options:
    return replace(options, **{name: value})
