"""What each of several runs had, by names that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.trajectory.read.naming import called
from aadsl.trajectory.read.run import RecordedRun
from aadsl.trajectory.store.specs import Beginning, ParameterSpec
from aadsl.trajectory.store.tensors import dtype_name


class Had(NamedTuple):
    """A tensor of a run.

    Attributes:
        own: its name there.
        trained: what it is where the run trained it.
        value: what it was where the run did not, and that is known.
    """

    own: str
    trained: ParameterSpec | None
    value: Tensor | None

    @property
    def spec(self) -> ParameterSpec | None:
        """What it is; None where the run did not train it, and its value is not known."""
        if self.trained is not None or self.value is None:
            return self.trained
        return ParameterSpec(self.own, tuple(self.value.shape), dtype_name(self.value.dtype))


def had(runs: Sequence[RecordedRun], beginnings: Sequence[Beginning]) -> list[dict[str, Had]]:
    """Return the tensors of each run: its parameters, and the others of its model."""
    names = called([{**run.header.parameters, **run.header.fingerprints.get("frozen", {})} for run in runs])
    values = [dict(begin.begun) for begin in beginnings]
    for number, begin in enumerate(beginnings):
        if number:
            values[number - 1] |= begin.left
        for merge in begin.merges:
            for earlier in names[:number]:
                if merge.weight in earlier:
                    earlier[merge.weight] = names[number][merge.into]
    return [
        {name: Had(own, run.header.parameters.get(own), known.get(own)) for own, name in of_run.items()}
        for run, of_run, known in zip(runs, names, values, strict=True)
    ]


def begun_anew(
    runs: Sequence[RecordedRun], beginnings: Sequence[Beginning], tensors: Sequence[dict[str, Had]]
) -> Iterator[Set[str]]:
    """Yield which of its tensors each run does not go on with: other values are in their place.

    Raises:
        AadslError: a pattern means no parameter of the run.
    """
    for number, (run, begin) in enumerate(zip(runs, beginnings, strict=True)):
        anew = _matching(run, begin.anew) | {merge.into for merge in begin.merges}
        found = {name for name, one in tensors[number].items() if one.own in anew}
        adapters = {own for merge in begin.merges for own in (merge.a, merge.b)}
        yield found | {name for name, one in tensors[number - 1].items() if one.own in adapters}


def _matching(run: RecordedRun, patterns: Sequence[str]) -> set[str]:
    found = set()
    for pattern in patterns:
        own = {name for name in run.header.parameters if fnmatchcase(name, pattern)}
        if not own:
            names = ", ".join([*run.header.parameters][:8])
            raise AadslError(f'{run.source.path} trained no parameter "{pattern}"', hint=f"it trained {names}")
        found |= own
    return found
