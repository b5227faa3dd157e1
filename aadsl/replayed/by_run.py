"""What is given to each run of a chain, as a dict by its name or its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from aadsl.core.errors import AadslError, did_you_mean
from aadsl.trajectory import Job

T = TypeVar("T")


def of_each_run(
    what: str, given: Mapping[Any, T], jobs: Sequence[Job], named: Mapping[Any, Any] | None = None
) -> list[T | None]:
    """Return what is ``given`` to each of the runs, None to those that it does not name.

    Args:
        what: the name of the argument.
        given: by name or path.
        jobs: the runs.
        named: whose keys are looked at, where that is another one.

    Raises:
        AadslError: a key names no run.
    """
    known = [*(job.name for job in jobs), *(job.path for job in jobs)]
    for key in given if named is None else named:
        if key not in known:
            raise AadslError(
                f"{what}={{{key!r}: …}}: a dict gives the {what} of each run, and no run is named {key!r}",
                hint=did_you_mean(str(key), known) or f"the runs: {', '.join(job.name for job in jobs)}",
            )
    return [given.get(job.path, given.get(job.name)) for job in jobs]
