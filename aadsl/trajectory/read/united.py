"""The tensors of runs that followed on each other, by names that no two of them share.

A parameter of one name that has another shape in a later run (a new head, a resized embedding) is another tensor
there: the later one keeps the name, the earlier one is called after the run that first trained it, too, as
"head.weight@pretrain".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise

import torch

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.state import State
from aadsl.trajectory.read.naming import distinct_names
from aadsl.trajectory.read.run import RecordedRun
from aadsl.trajectory.store.specs import Fresh, ParameterSpec, Resized


class United:
    """The parameters and buffers of all runs.

    Attributes:
        parameters, buffers: their descriptions by name.
        names: for each run the name of each of its parameters, by its own.
        followed: the parameters that took the place of one of another shape, and the name of that.

    Raises:
        AadslError: runs have nothing in common, or a tensor of one name has another dtype.
    """

    def __init__(self, runs: Sequence[RecordedRun], fresh: Sequence[Sequence[str]] = ()) -> None:
        labels = distinct_names([run.source.folder for run in runs])
        anew = [_matching(run, patterns) for run, patterns in zip(runs, fresh or [()] * len(runs), strict=True)]
        self.names: list[dict[str, str]] = [{} for _ in runs]
        self.parameters: dict[str, ParameterSpec] = {}
        self.followed: dict[str, str] = {}
        self._declared: set[str] = set()  # to begin anew
        for own in dict.fromkeys(name for run in runs for name in run.header.parameters):
            found: list[tuple[ParameterSpec, list[int]]] = []
            for number, run in enumerate(runs):
                spec = run.header.parameters.get(own)
                if spec is not None and found and found[-1][0].shape == spec.shape and own not in anew[number]:
                    _require_same(found[-1][0], runs[found[-1][1][0]], spec, run)
                    found[-1][1].append(number)
                elif spec is not None:
                    found.append((spec, [number]))
            called = [*(f"{own}@{labels[numbers[0]]}" for _, numbers in found[:-1]), own]
            for name, (spec, numbers) in zip(called, found, strict=True):
                self.parameters[name] = replace(spec, name=name)
                for number in numbers:
                    self.names[number][own] = name
            for before, name in pairwise(called):
                self.followed[name] = before
                if any(own in anew[k] for k, names in enumerate(self.names) if names.get(own) == name):
                    self._declared.add(name)
        self.buffers = _one_of_each(runs)
        self._require_something_in_common(runs)

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
            frozen = run.header.fingerprints.get("frozen", {})
            replaced = [own for own, name in here.items() if self.followed.get(name) in before]
            if replaced and not {*here.values(), *frozen}.intersection(before):
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


def _matching(run: RecordedRun, patterns: Sequence[str]) -> set[str]:
    """Return the parameters of a run that are meant. Raises AadslError where a pattern means none."""
    found = set()
    for pattern in patterns:
        own = {name for name in run.header.parameters if fnmatchcase(name, pattern)}
        if not own:
            names = ", ".join([*run.header.parameters][:8])
            raise AadslError(f'{run.source.path} trained no parameter "{pattern}"', hint=f"it trained {names}")
        found |= own
    return found


def common_part(one: Sequence[int], other: Sequence[int]) -> tuple[slice, ...]:
    """Return where tensors of two shapes have places in common, from the first of each on; () where there is none."""
    if len(one) != len(other):
        return ()
    return tuple(slice(min(sides)) for sides in zip(one, other, strict=True))


def _require_same(one: ParameterSpec, origin: RecordedRun, other: ParameterSpec, run: RecordedRun) -> None:
    if one.dtype != other.dtype:
        raise _unlike(one, origin, other, run, other.name)


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
