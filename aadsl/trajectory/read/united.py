"""The tensors of runs that followed on each other, by names that no two of them share.

A parameter of one name that has another shape in a later run (a new head, a resized embedding) is another tensor
there: the later one keeps the name, the earlier one is called after the run that first trained it, too, as
"head.weight@pretrain". So is a weight into which adapters are merged later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.state import State
from aadsl.trajectory.read.had import begun_anew, had
from aadsl.trajectory.read.naming import distinct_names
from aadsl.trajectory.read.run import RecordedRun
from aadsl.trajectory.store.specs import Beginning, Fresh, Merged, ParameterSpec, Resized


class United:
    """The parameters and buffers of all runs.

    Attributes:
        parameters, buffers: their descriptions by name.
        names: for each run the name of each of its parameters, by its own.
        frozen: for each run the name of each tensor that it had and did not train, by its own: one of ``parameters``
            where another run did, or its value is known.
        held: the values of those that no run trained, by name.
        followed: the parameters that took the place of another one, and the name of that.

    Raises:
        AadslError: runs have nothing in common, or a tensor of one name has another dtype.
    """

    def __init__(self, runs: Sequence[RecordedRun], beginnings: Sequence[Beginning] = ()) -> None:
        self._runs, self._beginnings = runs, list(beginnings) or [Beginning()] * len(runs)
        self._labels = distinct_names([run.source.folder for run in runs])
        self._had = had(runs, self._beginnings)
        self._anew = [*begun_anew(runs, self._beginnings, self._had)]
        self.names: list[dict[str, str]] = [{} for _ in runs]
        self.frozen: list[dict[str, str]] = [{} for _ in runs]
        self.parameters: dict[str, ParameterSpec] = {}
        self.held: dict[str, Tensor] = {}
        self.followed: dict[str, str] = {}
        self._declared: set[str] = set()  # to begin anew
        of_runs = [(name, one.trained) for own in self._had for name, one in own.items()]
        for name in dict.fromkeys([*(n for n, trained in of_runs if trained), *(n for n, _ in of_runs)]):
            self._take_in(name)
        self.buffers = _one_of_each(runs)
        self._require_something_in_common(runs)

    def _take_in(self, name: str) -> None:
        """Tell the tensors of one name apart: a later one has another shape, or begins anew."""
        found: list[list[int]] = []
        known: ParameterSpec | None = None
        for number in (number for number, own in enumerate(self._had) if name in own):
            spec = self._had[number][name].spec
            if not found or name in self._anew[number] or (known and spec and known.shape != spec.shape):
                found.append([])
                known = None
            if known and spec and known.dtype != spec.dtype:
                raise _unlike(known, self._runs[self._first(name, found[-1])], spec, self._runs[number], spec.name)
            found[-1].append(number)
            known = known or spec
        names = [*(f"{name}@{self._labels[self._first(name, numbers)]}" for numbers in found[:-1]), name]
        for one, numbers in zip(names, found, strict=True):
            first = self._had[self._first(name, numbers)][name]
            for number in numbers:
                own = self._had[number][name]
                (self.names if own.trained else self.frozen)[number][own.own] = one
            if first.spec is not None:
                self.parameters[one] = replace(first.spec, name=one)
            if first.trained is None and first.value is not None:
                self.held[one] = first.value
        for (before, one), numbers in zip(pairwise(names), found[1:], strict=True):
            if {before, one} <= self.parameters.keys():
                self.followed[one] = before
                self._declared |= {one} if name in self._anew[numbers[0]] else set()

    def _first(self, name: str, numbers: Sequence[int]) -> int:
        """Return the first run of some that trained a tensor; else that knows its value; else that has it."""
        hads = {number: self._had[number][name] for number in numbers}
        return min(numbers, key=lambda number: (hads[number].trained is None, hads[number].value is None))

    def merged(self, starts: Sequence[int]) -> Iterator[Merged]:
        """Yield the weights that a run begins with and adapters of the run before were merged into.

        ``starts``: the first step of each run.
        """
        for number, begin in enumerate(self._beginnings):
            before, here = self.names[number - 1], self.names[number] | self.frozen[number]
            for into in dict.fromkeys(one.into for one in begin.merges):
                merges = [one for one in begin.merges if one.into == into]
                pairs = tuple((before[one.a], before[one.b], one.scale, one.transposed) for one in merges)
                yield Merged(starts[number], self.followed[here[into]], here[into], pairs)

    def resized(self, starts: Sequence[int], stored: Callable[[int, int], State | None]) -> Iterator[Resized]:
        """Yield the parameters that began with what the one before them, of another shape, had left.

        Args:
            starts: the first step of each run, and the number of all steps.
            stored: gives a state of a run, by its number and step; None where it is not stored.

        Raises:
            AadslError: it is not stored what one of them began with, or the one before had left.
        """
        for name, before in self.followed.items():
            if name in self._declared:
                continue
            last = max(k for k, names in enumerate(self.names) if before in names.values())
            first = next(k for k, names in enumerate(self.names) if k > last and name in names.values())
            left, begun = stored(last, starts[last + 1] - starts[last]), stored(first, 0)
            if left is None or begun is None:
                raise AadslError(
                    f'it is not stored what "{before}" had in the end, and whether "{name}" began with it',
                    hint="chain only runs that were closed properly, or continue the run and close it",
                )
            common = common_part(left.parameters[before].shape, begun.parameters[name].shape)
            if common and torch.equal(left.parameters[before][common], begun.parameters[name][common]):
                yield Resized(starts[first], before, name, common)

    def fresh(self, starts: Sequence[int], carried: Set[str]) -> list[tuple[int, str]]:
        """Return the others of them, which are not ``carried``, each after its first step."""
        return [
            (starts[next(k for k, names in enumerate(self.names) if name in names.values())], name)
            for name in sorted(self.followed.keys() - carried)
        ]

    def _require_something_in_common(self, runs: Sequence[RecordedRun]) -> None:
        for number, run in enumerate(runs):
            here, before = self.names[number], [name for names in self.names[:number] for name in names.values()]
            replaced = [own for own, name in here.items() if self.followed.get(name) in before]
            if replaced and not {*here.values(), *self.frozen[number].values()}.intersection(before):
                spec, earlier = run.header.parameters[replaced[0]], self.parameters[self.followed[here[replaced[0]]]]
                other = next(r for r, names in zip(runs, self.names, strict=True) if earlier.name in names.values())
                raise _unlike(earlier, other, spec, run, replaced[0])


@checked
def fresh(*patterns: str) -> Fresh:
    """Say which parameters a run began anew: ``Study(…, joins={"finetune": aadsl.fresh("head.*")})``.

    It is needed where they have the names and the shapes that the run before had: other shapes tell it.
    """
    if not patterns or not all(isinstance(one, str) for one in patterns):
        raise AadslError("fresh() says which parameters began anew", hint='by their names: aadsl.fresh("head.*")')
    return Fresh(patterns)


def common_part(one: Sequence[int], other: Sequence[int]) -> tuple[slice, ...]:
    """Return where tensors of two shapes have places in common, from the first of each on; () where there is none."""
    if len(one) != len(other):
        return ()
    return tuple(slice(min(sides)) for sides in zip(one, other, strict=True))


def _unlike(one: ParameterSpec, origin: RecordedRun, other: ParameterSpec, run: RecordedRun, name: str) -> AadslError:
    return AadslError(
        f'the runs do not follow on each other: "{name}" is {one.shape} {one.dtype} in {origin.source.path}, and '
        f"{other.shape} {other.dtype} in {run.source.path}",
        hint="tensors are matched by name: what a later run goes on with has the name and the dtype that it had",
    )


def _one_of_each(runs: Sequence[RecordedRun]) -> dict[str, ParameterSpec]:
    """Return the buffers. Raises AadslError where one has another shape or dtype in another run."""
    united: dict[str, ParameterSpec] = {}
    origin: dict[str, RecordedRun] = {}
    for run in runs:
        for name, spec in run.header.buffers.items():
            known = united.setdefault(name, spec)
            first = origin.setdefault(name, run)
            if (known.shape, known.dtype) != (spec.shape, spec.dtype):
                raise _unlike(known, first, spec, run, name)
    return united
