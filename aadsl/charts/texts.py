"""Whatever text a recording holds, as charts can draw it and pages can hold it: data, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import count, takewhile
from typing import Any
from unicodedata import east_asian_width

DESCRIBED = 2_000
"""Characters of a chart's description in words."""
LONGEST = 400
"""Characters of a text that is drawn; of longer ones the middle is left out, since names often differ at their ends."""
# What no font shows, and what ends the process of the renderer: controls, halves of characters, noncharacters.
_UNDRAWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u2028\u2029]")
_PICTURE = "data:image/"
LABEL = 30
"""Letters that a name takes on an axis or in a legend; of East Asian scripts, whose letters are wide, half as many."""
HEAD, TAIL = 6, 4
"""Letters that stay at least of what names begin with alike, and of what then tells them apart."""
# What every object of JavaScript has, so that looking it up finds something.
_INHERITED = {
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
    "__proto__",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
}
_EXPRESSIONS = {"calculate", "expr", "filter", "labelExpr", "test"}


def drawable(spec: Any, key: str = "") -> Any:
    """Return a chart's specification with every text in it as it can be drawn; expressions, which are ours, stay."""
    if isinstance(spec, str) and key == "description":
        return visible(spec[:DESCRIBED])
    if isinstance(spec, str):
        return spec if key in _EXPRESSIONS else _titled(shown(spec)) if key == "title" else shown(spec)
    if isinstance(spec, dict):
        return {name: drawable(value, name) for name, value in spec.items()}
    if isinstance(spec, (list, tuple)):
        return [drawable(part, key) for part in spec]
    return spec


def _titled(text: str) -> str:
    """Return a title of an axis, a legend or a line of a tooltip, of which Vega-Lite makes expressions and keys."""
    text = re.sub(r"\s", " ", text).replace("\\", "∖")
    return f"{text}\u200b" if text in _INHERITED else text


def shown(text: str) -> str:
    """Return a text without what cannot be drawn: ESC as ␛, other controls alike; long ones without their middle.

    >>> shown("a\\x1bb")
    'a␛b'
    """
    if text.startswith(_PICTURE):
        return text
    return visible(shortened(text, LONGEST))


def shortened(text: str, most: int) -> str:
    """Return a text that takes the room of no more than ``most`` letters: of a longer one both ends.

    >>> shortened("learning rate 0.1, batch 64", 15)
    'learnin…atch 64'
    """
    if _room(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{_begin(text, most - 1 - end)}…{_begin(text[::-1], end)[::-1]}"


def labels(names: Iterable[str], most: int = LABEL) -> dict[str, str]:
    """Return for each name what stands for it where there is room for ``most`` letters: no two names alike.

    What long names begin with alike is cut first, then the middle of what is left: names often differ at their ends.

    >>> list(labels(["run/2024/batch 64/part a", "run/2024/batch 64/part b", "rest"], 16).values())
    ['run/2024/ba…rt a', 'run/2024/ba…rt b', 'rest']
    """
    names = list(dict.fromkeys(names))
    long = [name for name in names if _room(name) > most]
    alike = _beginning(min(long), max(long))[: min(map(len, long)) - TAIL] if len(long) > 1 else ""
    room = max(HEAD, most - 1 - max((_room(name[len(alike) :]) for name in long), default=0))
    head = alike if _room(alike) <= room + 1 else f"{_begin(alike, room)}…"
    found = {name: name for name in names}
    taken = set(names).difference(long)
    for name in long:
        label = given = f"{head}{shortened(name[len(alike) :], most - _room(head))}"
        numbers = count(2)
        while label in taken:
            label = f"{given} ({next(numbers)})"
        taken.add(label)
        found[name] = label
    return found


def label_expression(names: Iterable[str], most: int = LABEL) -> str:
    """Return the expression of Vega that writes the :func:`labels` of names; empty where each stands for itself."""
    cut = {shown(name): shown(label) for name, label in labels(names, most).items() if name != label}
    if not cut:
        return ""
    place = f"indexof({json.dumps(list(cut))}, datum.value)"
    return f"{place} < 0 ? datum.label : {json.dumps(list(cut.values()))}[{place}]"


def _beginning(first: str, last: str) -> str:
    """Return what two texts begin with; of the first and the last in order, it is what all between them begin with."""
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))


def _room(text: str) -> int:
    """Return how many letters' room a text takes."""
    return sum(map(_width, text))


def _width(letter: str) -> int:
    return 2 if east_asian_width(letter) in "WF" else 1


def _begin(text: str, most: int) -> str:
    """Return as much of the beginning of ``text`` as has room in ``most`` letters."""
    taken = 0

    def fits(letter: str) -> bool:
        nonlocal taken
        taken += _width(letter)
        return taken <= most

    return "".join(takewhile(fits, text))


def visible(text: str) -> str:
    """Return the whole text without what cannot be drawn."""
    return _UNDRAWN.sub(_picture_of, text)


def _picture_of(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "\ufffd"


def embedded(data: Any) -> str:
    """Return JSON that may stand in an HTML page, also inside a script: no text in it ends that or begins a tag."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
