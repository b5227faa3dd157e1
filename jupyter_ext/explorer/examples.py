"""The examples of the selected steps: what they look like, the worst by loss, their labels beside the whole run's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.core.exclusive import turn
from aadsl.core.progress import Progress
from aadsl.core.scalars import written
from aadsl.data.examples import TARGETS
from aadsl.language import Column
from aadsl.statements import Session
from aadsl.statements.batches import BatchExamples
from aadsl.statements.looks import look_of
from aadsl.study.single_examples import final_losses, single_examples
from jupyter_ext.explorer.beside import Beside, Work

LOOKED_AT = 128
"""Examples of a selection whose loss is computed, drawn evenly from all of them."""
WORST = 12
PEEKED = 4
LABELS = 10
TEXTS = ("text", "sentence", "content", "question", "prompt")
"""What columns are called that say what an example is, where the model's input does not."""


class ExamplesBeside:
    """Answers about examples, worked out beside the notebook; ``send`` receives them as messages.

    ``worst`` and ``first`` are of the newest selection and of the newest step that were asked about.
    """

    def __init__(self, session: Session, study: Any, send: Callable[[dict[str, Any]], None]) -> None:
        self._session, self._study, self._send = session, study, send
        self._worst, self._first = Beside(), Beside()

    def worst(self, selection: str, members: np.ndarray) -> None:
        """Send the worst examples of a selection, as :func:`worst_examples` finds them."""
        find = partial(worst_examples, members=members)
        self._worst.ask(Work(selection, partial(self._find, {"kind": "examples", "key": selection}, find)))

    def first(self, step: int) -> None:
        """Send a few examples of one step."""
        find = partial(first_examples, step=step)
        self._first.ask(Work(str(step), partial(self._find, {"kind": "step", "step": step}, find)))

    def wait(self, seconds: float) -> None:
        """Wait until nothing is being found."""
        self._worst.wait(seconds)
        self._first.wait(seconds)

    def _find(self, message: dict[str, Any], find: Callable[..., Any], check: Callable[[], None]) -> None:
        def progress(*_: Any) -> None:
            check()

        try:
            with turn(progress):
                found = find(self._study, self._session.batches(self._study), progress=progress)
        except AadslError as error:
            found = {"missing": error.problems[0].message}
        except Exception as error:  # a thread's error would be seen by nobody
            found = {"missing": f"{type(error).__name__}: {error}"}
        self._send({**message, "found": found})


def worst_examples(study: Any, batches: BatchExamples, members: np.ndarray, progress: Progress) -> dict[str, Any]:
    """Return the examples that the steps ``members`` (T,) consumed, those with the largest loss at the end of the run.

    Raises:
        AadslError: examples can neither be read nor looked up.
    """
    rows = np.flatnonzero(members[batches.of_step])
    looked = _each_once(study, rows)
    looked = looked[np.linspace(0, len(looked) - 1, min(LOOKED_AT, len(looked))).astype(int)] if len(looked) else looked
    places = _places(batches, looked)
    found = single_examples(study.history, places, progress=progress)
    why = ""
    try:
        losses = final_losses(study.history, found, progress=progress)
    except AadslError:
        raise
    except Exception as error:  # the loss is the user's, and may be made for whole batches
        losses, why = np.full(len(found), np.nan), f"their losses are not known: {type(error).__name__}: {error}"
    order = np.argsort(-np.nan_to_num(losses, nan=-np.inf), kind="stable")[:WORST]
    shown = [_shown(batches, int(looked[k]), places[k], found[k]) for k in order]
    return {
        "uses": len(rows),
        "looked": len(looked),
        "why": why,
        "examples": [one | {"loss": _finite(losses[k])} for one, k in zip(shown, order, strict=True)],
        "labels": _labels(batches, rows),
    }


def first_examples(study: Any, batches: BatchExamples, step: int, progress: Progress) -> dict[str, Any]:
    """Return a few examples of one step, and how many there are. Raises AadslError as :func:`worst_examples`."""
    rows = np.flatnonzero(batches.of_step == step)
    few = rows[:PEEKED]
    places = _places(batches, few)
    found = single_examples(study.history, places, progress=progress)
    shown = [_shown(batches, int(row), place, one) for row, place, one in zip(few, places, found, strict=True)]
    return {"uses": len(rows), "examples": shown}


def _each_once(study: Any, rows: np.ndarray) -> np.ndarray:
    """Return one row of each example of the data, in order; all rows where it is not known which examples they are."""
    recorded = study.trajectory.examples
    if "index" not in recorded or not len(rows):
        return rows
    index = recorded["index"].values[rows]
    return np.sort(np.r_[rows[index < 0], rows[index >= 0][np.unique(index[index >= 0], return_index=True)[1]]])


def _places(batches: BatchExamples, rows: np.ndarray) -> list[tuple[int, int]]:
    """Return step and place in its batch of each row."""
    steps = batches.of_step[rows]
    return list(zip(steps.tolist(), (rows - np.searchsorted(batches.of_step, steps)).tolist(), strict=True))


def _shown(batches: BatchExamples, row: int, place: tuple[int, int], example: Any) -> dict[str, Any]:
    def first(names: tuple[str, ...]) -> str:
        present = (name for name in names if name in batches.coordinates.names)
        return next((text for name in present if (text := _value(batches.coordinates.column(name), row))), "")

    look = look_of(example) or {"text": first(TEXTS)}
    return {"step": place[0], "number": first(("index",)), "label": first(TARGETS) or _target(example), **look}


def _target(example: Any) -> str:
    """Return the label of a batch of one that is (input, label)."""
    target = example[1] if isinstance(example, tuple | list) and len(example) == 2 else None
    return str(target.item()) if isinstance(target, Tensor) and target.numel() == 1 else ""


def _value(column: Column, row: int) -> str:
    if not np.broadcast_to(column.known, column.values.shape)[row]:
        return ""
    value = column.values[row].item()
    return column.categories[value] if column.kind == "text" else written(value)


def _labels(batches: BatchExamples, rows: np.ndarray) -> dict[str, Any]:
    """Return how often each label occurs among ``rows`` and in the whole run; nothing where examples have none."""
    name = next((name for name in TARGETS if name in batches.coordinates.names), "")
    if not name:
        return {}
    column = batches.coordinates.column(name)
    known = np.broadcast_to(column.known, column.values.shape)
    values, codes = np.unique(column.values, return_inverse=True)
    here = np.bincount(codes[rows][known[rows]], minlength=len(values))
    run = np.bincount(codes[known], minlength=len(values))
    order = np.argsort(-here, kind="stable")[:LABELS]
    order = np.sort(order[run[order] > 0])
    words = [column.categories[v] if column.kind == "text" else written(v) for v in values[order].tolist()]
    counts = [[word, int(here[k]), int(run[k])] for word, k in zip(words, order, strict=True)]
    return {"name": name, "counts": counts, "more": int((run > 0).sum()) - len(counts), "run": int(run.sum())}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
