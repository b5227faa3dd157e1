"""Names and conditions as the language writes them, checked by its own parser; nothing else is ever put into a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aadsl.core.errors import AadslError, Problem
from aadsl.language import Literal, Name, Reference
from aadsl.statements.score import Score
from aadsl.statements.stage import StageDefinition, walk
from aadsl.statements.table import parser


def reference(name: str) -> str:
    """Return how a program refers to the stage or behavior ``name``; nothing where it cannot.

    >>> reference("source[a b]"), reference("my stage")
    ('source["a b"]', '`my stage`')
    """
    head, bracket, rest = name.partition("[")
    candidates = [name, f"`{name}`"]
    if bracket and rest.endswith("]"):
        member = rest[:-1]
        candidates = [
            f"{own}[{inner}]" for own in (head, f"`{head}`") for inner in (member, _text(member))
        ] + candidates
    return next((text for text in candidates if _refers(text) == name), "")


def equals(coordinate: str, value: str | bool) -> str:
    """Return the condition that a coordinate of the steps has a value; nothing where it cannot be written.

    >>> equals("tag", "badnet"), equals("a b", True)
    ('tag == "badnet"', '`a b` == true')
    """
    literal = _text(value) if isinstance(value, str) else str(value).lower()
    candidates = (f"{name} == {literal}" for name in (coordinate, f"`{coordinate}`"))
    return next((text for text in candidates if _compares(text) == (coordinate, value)), "")


def selection_text(view: Mapping[str, Any], length: int, stages: Mapping[str, str]) -> str:
    """Return the selection of a view in the words of the language; nothing where nothing is selected.

    ``stages`` are the references of the stages that can be picked. The browser writes the same text.
    """
    start, stop, condition = view["start"], view["stop"], view["where"].strip()
    brushed = start < stop
    whole = not brushed or (start <= 0 and stop >= length)
    steps = "steps" if whole else f"steps[{start}:{stop}]"
    picked = stages.get(view["stage"], "")
    if not (brushed or condition or picked):
        return ""
    both = f"{picked} and {steps}"
    subject = steps if not picked else picked if whole else f"({both})" if condition else both
    return f"{subject} where {condition}" if condition else subject


def question(name: str, selection: str, behaviors: Sequence[str], under: str) -> str:
    """Return the program that names a selection and asks for its effect.

    Raises:
        AadslError: the name is none, or something else in it cannot be written.
    """
    text = f"{definition(name, selection)}\nscore {name.strip()} on {', '.join(behaviors)}{under}"
    parsed = parser().parse(text)
    if parsed.problems or [type(one) for one in parsed.statements] != [StageDefinition, Score]:
        raise AadslError(*parsed.problems or [Problem("this selection cannot be written as a program")])
    return text


def definition(name: str, selection: str) -> str:
    """Return the statement that names a selection.

    Raises:
        AadslError: the name is none; placed in the text of the name alone.
    """
    text = f"stage {name.strip()} = {selection}"
    alone = parser().parse(f"stage {name.strip()} = steps")
    one = alone.statements[0] if len(alone.statements) == 1 else None
    named = isinstance(one, StageDefinition) and one.name.text == name.strip().strip("`")
    if alone.problems or not named:
        said = next(iter(alone.problems), None)
        hint = "letters, digits and underscores, not a word of the language; any other text in backticks: `my stage`"
        message = said.message if said is not None and name.strip() else "a stage needs a name"
        raise AadslError(message, hint=hint)
    return text


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _refers(text: str) -> str | None:
    one = _only(f"score {text} on x")
    stages = one.stages if isinstance(one, Score) else ()
    return stages[0].text if len(stages) == 1 and isinstance(stages[0], Reference) else None


def _compares(text: str) -> tuple[Any, ...]:
    one = _only(f"stage x = steps where {text}")
    if not isinstance(one, StageDefinition):
        return ()
    nodes = list(walk(one.selection))
    names = [node.text for node in nodes if isinstance(node, Name)]
    return (*names, *(node.value for node in nodes if isinstance(node, Literal)))


def _only(program: str) -> Any:
    parsed = parser().parse(program)
    return parsed.statements[0] if len(parsed.statements) == 1 and not parsed.problems else None
