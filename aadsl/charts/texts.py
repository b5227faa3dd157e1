"""Whatever text a recording holds, as charts can draw it and pages can hold it: data, and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

DESCRIBED = 2_000
"""Characters of a chart's description in words."""
LONGEST = 400
"""Characters of a text that is drawn; of longer ones the middle is left out, since names often differ at their ends."""
# What no font shows, and what ends the process of the renderer: controls, halves of characters, noncharacters.
_UNDRAWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u2028\u2029]")
_PICTURE = "data:image/"
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
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}…{text[-half:]}"
    return visible(text)


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
