"""The names of a run's metadata: which may be given, and what kind of value each has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aadsl.core.errors import AadslError
from aadsl.core.formats import INPUTS_FORMAT
from aadsl.core.kernels import AUTOCAST
from aadsl.trajectory.store.files import opened
from aadsl.trajectory.store.segments import cover, is_rewritten, segments_in
from aadsl.trajectory.store.specs import (
    AVERAGE,
    DECIDED,
    FACTOR,
    FRESH_GROUPS,
    LOSS,
    LOSS_SCALE,
    RANK,
    RESTING_GROUPS,
    WEIGHT,
    WRITTEN,
)

# Names that the recorder gives itself.
RESERVED = {
    *WRITTEN, *AVERAGE, AUTOCAST, DECIDED, LOSS_SCALE, WEIGHT, LOSS, FACTOR, RANK, RESTING_GROUPS, FRESH_GROUPS,
    INPUTS_FORMAT, "step", "phase", "batch_size", "micro_batch_count", "training", "modules_off_mode", "phase_boundary",
    "row_size", "index", "example", "micro_batch",
}  # fmt: skip
# Beside text lie its labels, called so; beside the examples lie tensors and generator states.
_LABELS = ("_labels", "_label")
_TEXTS = ("phase", "modules_off_mode", AUTOCAST, INPUTS_FORMAT, DECIDED, RESTING_GROUPS, FRESH_GROUPS)
_PREFIXES = ("rng_", "tensor_")
# What netCDF takes for a name.
_NAME = re.compile(r"\w[^/\x00-\x1f\x7f]*(?<! )")
_LONGEST = 200
_LARGEST = 1 << 63

Kinds = dict[str, bool]
"""For each name whether its values are text."""


class Vocabulary:
    """What metadata were given to a recorder until now.

    Attributes:
        steps, examples: the kinds of the names that were given for steps, and for single examples.
    """

    def __init__(self, hyperparameters: Iterable[str]) -> None:
        self.steps: Kinds = {}
        self.examples: Kinds = {}
        self._reserved = RESERVED | set(hyperparameters)
        # Where groups differ, each has a column of its own.
        self._grouped = re.compile(rf"({'|'.join(map(re.escape, hyperparameters))})_\d+")

    def admit(self, name: str, text: bool, kinds: Kinds) -> None:
        """Add a name to ``kinds``, which are :attr:`steps` or :attr:`examples`.

        Raises:
            AadslError: it is taken, netCDF has no such names, or its values were of the other kind before.
        """
        if name not in kinds:
            self._check(name, text, kinds)
        elif kinds[name] is not text:
            raise AadslError(
                f'the metadata "{name}" is text at some steps and a number at others',
                hint="give one kind of value to one name",
            )
        kinds[name] = text

    def _check(self, name: str, text: bool, kinds: Kinds) -> None:
        if name in self._reserved or self._grouped.fullmatch(name):
            raise AadslError(
                f'"{name}" is recorded already, metadata cannot have that name',
                hint=f"call it {name}_given, or leave it out",
            )
        if not _NAME.fullmatch(name) or len(name.encode(errors="replace")) > _LONGEST or not storable(name):
            plain = re.sub(r"\W+", "_", name[:40]).strip("_")
            raise AadslError(
                f"metadata cannot have the name {name[:40]!r}: netCDF takes letters, digits and _",
                hint=f"call it {plain}" if plain else "give it a name",
            )
        if kinds is self.examples and name.startswith(_PREFIXES):
            raise AadslError(
                f'metadata of examples cannot have the name "{name}": what is stored of batches begins so',
                hint=f"call it example_{name}",
            )
        texts = {*_TEXTS, *(known for known, is_text in kinds.items() if is_text), *([name] if text else [])}
        for suffix in _LABELS:
            for taken in (name, f"{name}{suffix}"):
                if taken.removesuffix(suffix) in texts and taken.endswith(suffix) and (taken == name or taken in kinds):
                    raise AadslError(
                        f'metadata cannot have the names "{taken.removesuffix(suffix)}" and "{taken}": '
                        "the labels of a text are stored under such a name",
                        hint=f'call "{taken}" otherwise',
                    )

    def learn(self, folder: Path) -> None:
        """Take up the names that were recorded into ``folder`` before."""
        names = [path.name for path in folder.iterdir()]
        # What a segment has that is never merged again need not agree with what is to come.
        segments = [
            s for kind in ("steps", "batches") for s in cover(segments_in(names, kind)) if is_rewritten(folder, s)
        ]
        for segment in segments:
            kinds = self.steps if segment.kind == "steps" else self.examples
            with opened(folder / segment.name) as dataset:
                for name, variable in dataset.variables.items():
                    if getattr(variable, "role", "") == "metadata":
                        kinds[name] = "labels" in variable.ncattrs()


def storable(text: str) -> bool:
    """Return whether netCDF holds a text as it is: not where it has a NUL, or half of a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


def require_storable(name: str, value: Any) -> None:
    """Raise AadslError where a value of ``name`` would not be read back as it is."""
    if isinstance(value, str) and not storable(value):
        raise AadslError(
            f'the text of "{name}" has a character that cannot be stored: {value[:40]!r}',
            hint="leave that character out",
        )
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise AadslError(f'"{name}" is {value}, which 64 bits do not hold', hint="give it as text, or as a float")
