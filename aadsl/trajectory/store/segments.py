"""Segments: files ``<kind>-<start>-<stop>.nc`` that hold what was recorded for steps start … stop-1.

Eight of about one length are merged into one as they come, so that n commits leave at most about 7·log₈n files, and
write each step log₈n times more. (Merged two by two they were half as many, and each step was written log₂n times
more.) Merging holds what it merges in memory, so that nothing larger than a limit is made. A merged file is committed
before its parts are deleted; whoever reads in between finds both, and takes the longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aadsl.trajectory.store.columns import Columns, column_names, concatenate, read_column, write_columns
from aadsl.trajectory.store.files import commit, opened

# As the recorder writes numbers, each in one way, and no more of them than any run has.
_NUMBER = "(0|[1-9][0-9]{0,14})"
_NAME = re.compile(rf"(steps|batches)-{_NUMBER}-{_NUMBER}\.nc")
_STATE = re.compile(rf"state-{_NUMBER}\.nc")
# So many segments make one.
_MERGED = 8
# Merging rewrites; files of batches beyond this are left alone, and no more steps than so many make one.
_LARGE = 32 << 20
_LONG = 1 << 16
NOTHING: Mapping[str, int] = {}


class Segment(NamedTuple):
    """A segment by its name."""

    kind: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.kind}-{self.start}-{self.stop}.nc"


def segments_in(names: Iterable[str], kind: str) -> list[Segment]:
    """Return all segments of a kind, by start, the longest first."""
    found = [
        Segment(kind, int(match[2]), int(match[3]))
        for match in map(_NAME.fullmatch, names)
        if match and match[1] == kind
    ]
    return sorted(found, key=lambda segment: (segment.start, -segment.stop))


def cover(segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments that follow on each other from step 0, the longest where several start together."""
    chain: list[Segment] = []
    for segment in segments:
        if segment.start == (chain[-1].stop if chain else 0) and segment.stop > segment.start:
            chain.append(segment)
    return chain


def states_in(names: Iterable[str]) -> list[int]:
    """Return the steps whose state is stored, ascending."""
    return sorted(int(match[1]) for match in map(_STATE.fullmatch, names) if match)


def state_name(step: int) -> str:
    """Return the name of the file of ξ_step."""
    return f"state-{step}.nc"


def write_segment(folder: Path, segment: Segment, columns: Columns, attributes: dict[str, Any]) -> None:
    """Commit one segment."""
    title = {
        "steps": "what each optimizer step used and was told about",
        "batches": "what each optimizer step consumed",
    }
    described = {"title": title[segment.kind], "start": segment.start, "stop": segment.stop, **attributes}
    commit(folder / segment.name, described, lambda dataset: write_columns(dataset, columns))


def read_segment(path: Path) -> tuple[Columns, dict[str, int]]:
    """Return all columns of a segment and the sizes of its dimensions, ``example`` also where no column has it."""
    with opened(path) as dataset:
        columns = {name: read_column(dataset, name) for name in column_names(dataset)}
        lengths = {name: len(dimension) for name, dimension in dataset.dimensions.items()}
    if "row_size" in columns:
        lengths["example"] = int(columns["row_size"].values.sum())
    return columns, lengths


def append(
    folder: Path, segment: Segment, columns: Columns, attributes: dict[str, Any], sizes: dict[str, int] | None = None
) -> None:
    """Commit a segment, then merge the last ones if there are enough of about its length, or of what they become.

    ``sizes`` are the bytes that segments take in memory, by file, where more than on the disk; new ones are added.
    """
    sizes = {} if sizes is None else sizes
    write_segment(folder, segment, columns, attributes)
    sizes[segment.name] = sum(column.values.nbytes for column in columns.values())
    chain = cover(segments_in((path.name for path in folder.iterdir()), segment.kind))
    parts = chain[_first_to_merge(folder, chain, sizes) :]
    merge(folder, parts, attributes)
    whole = Segment(segment.kind, parts[0].start, parts[-1].stop)
    sizes[whole.name] = sum(sizes.pop(part.name, 0) for part in parts)


def _first_to_merge(folder: Path, chain: Sequence[Segment], sizes: Mapping[str, int] = NOTHING) -> int:
    """Return the position in ``chain`` from which on all are one; the last where none are merged."""
    merged = first = len(chain) - 1
    while first > 0:
        length = chain[-1].stop - chain[merged].start
        while first > 0 and _mergeable(folder, chain[first - 1], length, sizes):
            first -= 1
        if merged - first + 1 < _MERGED:
            break
        merged = first
    return merged


def _mergeable(folder: Path, segment: Segment, length: int, sizes: Mapping[str, int]) -> bool:
    """Return whether a segment is about as long as ``length``, or shorter, and not too large to be rewritten."""
    most = _MERGED * length if segment.kind == "batches" else min(_MERGED * length, _LONG // _MERGED)
    return segment.stop - segment.start < most and is_rewritten(folder, segment, sizes)


def is_rewritten(folder: Path, segment: Segment, sizes: Mapping[str, int] = NOTHING) -> bool:
    """Return whether a segment may be merged with others: one of batches takes that it is not too large."""
    if segment.kind == "steps":
        return True
    return max((folder / segment.name).stat().st_size, sizes.get(segment.name, 0)) < _LARGE


def merge(folder: Path, parts: Sequence[Segment], attributes: dict[str, Any]) -> None:
    """Replace consecutive segments by one; where the disk has no room for it, they stay."""
    if len(parts) < 2:
        return
    read = [read_segment(folder / part.name) for part in parts]
    columns = expand_groups([columns for columns, _ in read])
    whole = Segment(parts[0].kind, parts[0].start, parts[-1].stop)
    try:
        write_segment(folder, whole, concatenate(columns, [lengths for _, lengths in read]), attributes)
    except OSError:
        return
    for part in parts:
        (folder / part.name).unlink()


def merge_steps(folder: Path, attributes: dict[str, Any]) -> None:
    """Make as few segments of steps as may be."""
    together: list[Segment] = []
    for segment in cover(segments_in((path.name for path in folder.iterdir()), "steps")):
        if together and segment.stop - together[0].start > _LONG:
            merge(folder, together, attributes)
            together = []
        together.append(segment)
    merge(folder, together, attributes)


def expand_groups(parts: Sequence[Columns]) -> list[Columns]:
    """Give every part ``lr_0``, ``lr_1``, … where any part has them instead of one ``lr`` for all groups."""
    split = {
        (column.attributes["hyperparameter"], name)
        for part in parts
        for name, column in part.items()
        if column.attributes.get("hyperparameter", name) != name
    }
    expanded = [dict(part) for part in parts]
    for whole, name in split:
        for part in expanded:
            if whole in part:
                part[name] = part[whole]
    for part in expanded:
        for whole, name in split:
            if name in part:
                part.pop(whole, None)
    return expanded


def truncate(folder: Path, step: int, attributes: dict[str, Any]) -> None:
    """Forget steps >= ``step`` and states > ``step``, the latest first, so that any moment is a true past."""
    names = [path.name for path in folder.iterdir()]
    for state in reversed(states_in(names)):
        if state > step:
            (folder / state_name(state)).unlink()
    for kind in ("steps", "batches"):
        for segment in reversed(segments_in(names, kind)):
            if segment.start < step < segment.stop:
                columns, lengths = read_segment(folder / segment.name)
                kept = Segment(kind, segment.start, step)
                write_segment(folder, kept, head(columns, lengths, kept), attributes)
            if segment.stop > step:
                (folder / segment.name).unlink()


def head(columns: Columns, lengths: dict[str, int], kept: Segment) -> Columns:
    """Return the columns of the steps of ``kept`` only, ragged ones included."""
    sizes = {"step": kept.stop - kept.start}
    if "step" in columns and columns["step"].dimension == "micro_batch":
        rows = int((columns["step"].values < kept.stop).sum())
        sizes["micro_batch"] = rows
        for column in columns.values():
            if ragged := column.attributes.get("sample_dimension"):
                sizes[ragged] = int(column.values[:rows].sum())
    cut = {}
    for name, column in columns.items():
        length = sizes.get(column.dimension, lengths[column.dimension])
        cut[name] = type(column)(column.dimension, column.values[:length], column.attributes)
    return cut
