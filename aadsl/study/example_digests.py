"""Digests of the examples that answers depend on, of data sets whose examples take long to decode.

A data set that computes its examples (a class with ``__getitem__``) is as it was where its code, its attributes and the
files that these name are: then its examples are not decoded again. That is seen from the attributes and from size and
time of the files, of a directory from those of all files in it. What decoding itself leaves behind in attributes, a
handle that is opened late or a counter, does not count. A data set with a text ``fingerprint`` (or ``_fingerprint``, as
Hugging Face ``datasets`` have it) is told from others by that alone.

Where a data set holds what cannot be told apart, or gives another example each time, all of its examples are decoded
for each question, as numbers must never be out of date.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from aadsl.core.generators import NUMPY, PYTHON, left_as_they_were, seed_all
from aadsl.data.examples import Examples
from aadsl.data.tables import frame_of, is_frame, values_of
from aadsl.study.entries import EntryStore
from aadsl.study.fingerprint import NoFingerprint, fingerprint

FILES = 200_000  # of a data set, whose sizes and times are looked at; of more there is no telling
DEEPEST = 8  # data sets inside each other
PARTS = 1000  # data sets side by side in a list
DIGEST = "sha256"

DataState = dict[str, tuple[str | None, str]]
"""Of each attribute its digest, None where it has none, and which object it is, as far as that may be told."""


@dataclass
class KnownData:
    """A data set as it was when it was met, and what is known of its examples since.

    Attributes:
        source: the data set, which is not held.
        state: its attributes then.
        left_behind: attributes that decoding changed, the first time; None as long as nothing was decoded.
        digests: of the examples at some places, by the digest of these.
        random: whether it gives another example each time.
        question: in which question it was looked at last.
    """

    source: Callable[[], Any]
    state: DataState
    left_behind: set[str] | None = None
    digests: dict[str, str] = field(default_factory=dict)
    random: bool = False
    question: object = None

    def __post_init__(self) -> None:
        self.first = {name: digest for name, (digest, _) in self.state.items()}

    @property
    def told(self) -> bool:
        """Whether it can be told from another one."""
        return None not in self.first.values()

    def decoding(self, decode: Callable[[], list[Any]]) -> list[Any]:
        """Decode some examples, and see what that leaves behind."""
        before, items = state_of(self.source()), decode()
        after = state_of(self.source())
        self.left_behind = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        self.state |= {name: after[name] for name in self.left_behind & after.keys()}
        return items

    def is_as_it_was(self, state: DataState) -> bool:
        """Return whether it has not changed since; of what decoding changes, whether it is the same object."""
        left = self.left_behind or set()
        if self.random or not self.told or state.keys() != self.state.keys():
            return False
        return all(own == self.state[n] or (n in left and own[1] == self.state[n][1]) for n, own in state.items())


class ExampleDigests:
    """Tells the digests of examples; those of computed ones are kept, and none is decoded for them again.

    Args:
        entries: where they are kept, beside a run.
        decoders: how many processes decode examples.
    """

    def __init__(self, entries: EntryStore, decoders: int = 0) -> None:
        self._entries, self._decoders = entries, decoders
        self._question = object()

    def begin(self) -> None:
        """Begin a question: while it is answered, data do not change."""
        self._question = object()

    def of(self, examples: Examples, seeded: bool = False) -> str:
        """Return the digest of examples as they are now.

        ``seeded``: replays make them with the random numbers of the run; here they are made with some that are alike
        each time.

        Raises:
            NoFingerprint: an example holds what cannot be told apart.
        """
        known, places = self.met(examples), fingerprint(examples.positions)
        if known is None:
            return fingerprint(examples)
        if places not in known.digests:
            key = fingerprint("examples", known.first, places) if known.told else None
            kept = None if key is None else self._entries.find(key)
            if kept is not None and DIGEST in kept:
                known.digests[places] = _text(kept[DIGEST])
            else:
                known.digests[places] = self._decoded(known, examples, seeded)
                if key is not None and not known.random:
                    self._entries.keep({key: {DIGEST: _numbers(known.digests[places])}})
        return known.digests[places]

    def met(self, examples: Examples) -> KnownData | None:
        """Return what is known of a data set, None of one in memory; of one that has changed nothing stays decoded."""
        source = examples.source
        if isinstance(source, list | tuple):
            return None
        examples.items.decoders = self._decoders
        known = _KNOWN.get(id(source))
        if known is None or known.source() is not source or known.question is not self._question:
            state = state_of(source)
            if known is None or known.source() is not source or not known.is_as_it_was(state):
                known = _KNOWN[id(source)] = KnownData(_weakly(source), state)
            known.question = self._question
        if examples.items.owner is not known:
            examples.items.forget()
            examples.items.owner = known
        if known.left_behind is None:
            examples.items.watch = known.decoding
        return known

    def _decoded(self, known: KnownData, examples: Examples, seeded: bool) -> str:
        """Return the digest of examples, all of them decoded; see whether they come out alike each time."""
        with left_as_they_were(("cpu", PYTHON, NUMPY)):
            if seeded:
                seed_all()
            digest = fingerprint(examples)
        if len(examples):
            row = int(examples.positions[len(examples) // 2])
            again = examples.items.decoded([row])
            known.random = known.random or fingerprint(*again) != fingerprint(*examples.items.at([row]))
        return digest


# Of all studies: what a data set had before anything was decoded is not to be seen any more by a later one.
_KNOWN: dict[int, KnownData] = {}


def _weakly(source: Any) -> Callable[[], Any]:
    """Return what gives a data set as long as it is there; then nothing is known of it any more."""
    place = id(source)
    try:
        return weakref.ref(source, lambda _: _KNOWN.pop(place, None))
    except TypeError:  # it has slots
        return lambda: source


def state_of(source: Any) -> DataState:
    """Return the digests of what decides the examples of a data set, by name, and that of the files it names."""
    files = list[str | None]()
    found = dict(_attributes(source, "", files, DEEPEST))
    found["files"] = (None if None in files or len(files) > FILES else fingerprint(files), "")
    return found


def _attributes(
    source: Any, path: str, files: list[str | None], depth: int
) -> Iterator[tuple[str, tuple[str | None, str]]]:
    offered = [getattr(source, name, None) for name in ("fingerprint", "_fingerprint")]
    if given := next((text for text in offered if isinstance(text, str)), ""):
        yield path, (given, "")
        return
    yield path, (_digest(type(source)), "")
    for name, value in getattr(source, "__dict__", {"": None}).items():
        place = f"{path}.{name}"
        parts = value if isinstance(value, list | tuple) and 0 < len(value) <= PARTS else ()
        if depth and _computes(value):
            yield from _attributes(value, place, files, depth - 1)
        elif depth and parts and all(map(_computes, parts)):
            for number, part in enumerate(parts):
                yield from _attributes(part, f"{place}[{number}]", files, depth - 1)
        else:
            value = {n: values_of(c) for n, c in frame_of(value).items()} if is_frame(value) else value
            files += _stamps(value, FILES + 1 - len(files))
            yield place, (_digest(value), _which(value))


def _computes(value: Any) -> bool:
    """Return whether a value is a data set that computes its examples, so that its attributes count one by one."""
    plain = isinstance(value, Tensor | np.ndarray | nn.Module | type | dict) or is_frame(value)
    return not plain and hasattr(value, "__dict__") and hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _which(value: Any) -> str:
    """Return what tells an object from another one put into its place; of plain values and handles only the kind."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"{kind} {id(value)}" if hasattr(value, "__dict__") else kind


def _digest(value: Any) -> str | None:
    try:
        return fingerprint(value)
    except NoFingerprint:
        return None


def _stamps(value: Any, most: int) -> Iterator[str | None]:
    """Yield path, size and time of the files that a value names, of those in a directory too; None for too many."""
    for count, path in enumerate(_paths(value)):
        if count >= most:
            yield None
            return
        try:
            status = path.stat()
        except OSError:
            yield f"{path} gone"
            continue
        yield f"{path} {status.st_size} {status.st_mtime_ns}"


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _paths(part)
        return
    values = value if isinstance(value, list | tuple) or _of_objects(value) else [value]
    first = values[0] if len(values) else None
    if isinstance(first, list | tuple) and first:  # (path, label) …
        values, first = [one[0] for one in values if isinstance(one, list | tuple) and one], first[0]
    if not _names_something(first):
        return
    for one in values:
        if _names_something(one):
            yield from _inside(Path(one))


def _of_objects(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "OUS"


def _names_something(value: Any) -> bool:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        return False
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long for a path, or with characters that none has
        return False


def _inside(path: Path) -> Iterator[Path]:
    """Yield a file, or a directory with all that is in it."""
    yield path
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names))


def _numbers(digest: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.frombuffer(bytes.fromhex(digest), np.uint8).astype(np.float64)


def _text(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return bytes(numbers.astype(np.uint8)).hex()
