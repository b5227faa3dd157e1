"""Whatever text a recording holds, as charts can draw it and pages can hold it: data, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import count, takewhile
from typing import Any

from aadsl.core.texts import LONGEST, beginning, fits, room, shortened, visible

DESCRIBED = 2_000
"""Characters of a chart's description in words."""
# As our own charts hold them. No other text that begins so is one: it may be anything.
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")
LABEL = 30
"""Letters that a name takes on an axis or in a legend; of East Asian scripts, whose letters are wide, half as many."""
LETTER = 5.7
"""Pixels that a letter of a chart takes, on average."""
HEAD, TAIL = 6, 4
"""Letters that stay at least of what names begin with alike, and of what then tells them apart."""
# Keys of tooltips that mean something else there: a picture to fetch, a heading, what every object of JavaScript has.
_TAKEN = {
    "image",
    "title",
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
    return f"{text}\u200b" if text in _TAKEN else text


def shown(text: str) -> str:
    """Return a text without what cannot be drawn: ESC as ␛, other controls alike; long ones without their middle.

    >>> shown("a\\x1bb")
    'a␛b'
    """
    return text if is_picture(text) else visible(shortened(text, LONGEST))


def is_picture(text: str) -> bool:
    """Return whether a text is a picture of an example."""
    return _PICTURE.fullmatch(text) is not None


def labels(names: Iterable[str], most: int = LABEL) -> dict[str, str]:
    """Return for each name what stands for it where there is room for ``most`` letters: no two names alike.

    What long names begin with alike is cut first, then the middle of what is left: names often differ at their ends.

    >>> list(labels(["run/2024/batch 64/part a", "run/2024/batch 64/part b", "rest"], 16).values())
    ['run/2024/ba…rt a', 'run/2024/ba…rt b', 'rest']
    """
    names = list(dict.fromkeys(names))
    long = [name for name in names if not fits(name, most)]
    alike = _alike(min(long), max(long))[: min(map(len, long)) - TAIL] if len(long) > 1 else ""
    left = max(HEAD, most - 1 - max((room(name[len(alike) :][:most]) for name in long), default=0))
    head = alike if room(alike) <= left + 1 else f"{beginning(alike, left)}…"
    found = {name: name for name in names}
    taken = set(names).difference(long)
    for name in long:
        label = given = f"{head}{shortened(name[len(alike) :], most - room(head))}"
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


def _alike(first: str, last: str) -> str:
    """Return what two texts begin with; of the first and the last in order, it is what all between them begin with."""
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))


def embedded(data: Any) -> str:
    """Return JSON that may stand in an HTML page, also inside a script: no text in it ends that or begins a tag."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
