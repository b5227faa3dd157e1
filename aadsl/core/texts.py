"""Texts that come from elsewhere, as a page or a terminal can show them: they are read, and do nothing."""

from __future__ import annotations

import re
from itertools import takewhile
from unicodedata import east_asian_width

LONGEST = 400
"""Letters of a name that is shown; of longer ones the middle is left out, since names often differ at their ends."""
LINE = 2_000
"""Letters of a line in a message."""
# What no font shows, what a terminal obeys and what ends the process of a renderer: controls, halves of characters,
# noncharacters; and what turns around the order of all that follows in a line, numbers, too.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def visible(text: str) -> str:
    """Return a text without what cannot be seen: ESC as ␛, other controls alike; as long as before.

    >>> visible("a\\x1bb")
    'a␛b'
    """
    return _UNSEEN.sub(_sign_of, text)


def in_line(text: str, most: int = LONGEST) -> str:
    """Return a visible text on one line that takes the room of no more than ``most`` letters.

    >>> in_line("a\\nb")
    'a␊b'
    """
    return visible(shortened(text, most)).replace("\n", "␊").replace("\t", "␉")


def told(text: str) -> str:
    """Return a message whose lines are visible, and not longer than ``LINE`` letters."""
    return "\n".join(visible(shortened(line, LINE)) for line in text.split("\n"))


def shortened(text: str, most: int) -> str:
    """Return a text that takes the room of no more than ``most`` letters: of a longer one both ends.

    >>> shortened("learning rate 0.1, batch 64", 15)
    'learnin…atch 64'
    """
    if fits(text, most):
        return text
    end = (most - 1) // 2
    return f"{beginning(text, most - 1 - end)}…{beginning(text[::-1], end)[::-1]}"


def fits(text: str, most: int) -> bool:
    """Return whether a text has room where there is some for ``most`` letters; told quickly of a long one."""
    return len(text) <= most and room(text) <= most


def room(text: str) -> int:
    """Return how many letters' room a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def beginning(text: str, most: int) -> str:
    """Return as much of the beginning of ``text`` as has room in ``most`` letters."""
    taken = 0

    def has_room(letter: str) -> bool:
        nonlocal taken
        taken += _width(letter)
        return taken <= most

    return "".join(takewhile(has_room, text))


def _width(letter: str) -> int:
    return 2 if east_asian_width(letter) in "WF" else 1


def _sign_of(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "\ufffd"
