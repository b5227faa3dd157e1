"""A study as statements see it: what is named in it, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from aadsl.behaviors import Metric
    from aadsl.core.progress import Progress
    from aadsl.estimators import Behavior, Estimator
    from aadsl.interventions import Intervention
    from aadsl.propagation import MetricFunction
    from aadsl.study.plan import Plan
    from aadsl.trajectory import Job
    from aadsl.verification import Report


class StudiedRun(Protocol):
    """The trajectory of a study, as statements see it."""

    @property
    def path(self) -> Path | str: ...  # noqa: D102

    @property
    def length(self) -> int: ...  # noqa: D102

    @property
    def stamp(self) -> tuple[int | str, ...]:
        """What tells these runs, up to where they are now, from all others."""
        ...

    @property
    def digest(self) -> str: ...  # noqa: D102

    provenance: dict[str, str]
    """What is known of its making: versions, device, classes."""

    @property
    def examples(self) -> xr.Dataset:
        """What is known of each example of each batch, over dimension ``example``: step, index, metadata."""


class StudiedData(Protocol):
    """What the recorded indices point into, as statements see it."""

    @property
    def jobs(self) -> Sequence[Job]: ...  # noqa: D102

    @property
    def distinct(self) -> Sequence[Any]:
        """The data sets, each once."""

    def coordinates(self) -> tuple[xr.Dataset, NDArray[np.int64]]:
        """Return what is known of all examples, and the position among them of the first one of each run (-1: none)."""


@runtime_checkable
class Studied(Protocol):
    """What :class:`aadsl.Study` offers to statements; so does whatever stands in for it in tests.

    Attributes:
        steps: what was recorded of every step.
        stages, families, behaviors, behavior_families: what is named.
    """

    steps: xr.Dataset
    stages: dict[str, xr.DataArray]
    families: dict[str, tuple[str, ...]]
    behaviors: dict[str, Behavior]
    behavior_families: dict[str, tuple[str, ...]]

    @property
    def trajectory(self) -> StudiedRun: ...  # noqa: D102

    @property
    def notes(self) -> Sequence[str]:
        """What is to be known before asking."""

    @property
    def training_data(self) -> StudiedData: ...  # noqa: D102

    def branch(self) -> Self:
        """Return the same with the names so far; what is named in one from now on is not named in the other."""

    def stage(self, name: str, selection: Any) -> xr.DataArray:
        """Name a set of steps."""

    def family(self, name: str, members: Mapping[Any, Any]) -> tuple[str, ...]:
        """Name several stages at once."""

    def behavior(
        self,
        name: str,
        metric: str | Metric | MetricFunction,
        on: Any,
        *,
        where: NDArray[np.bool_] | None = None,
        by: str | None = None,
        per_example: bool = False,
    ) -> Behavior | tuple[Behavior, ...]:
        """Name a performance function on given examples."""

    def step_effects(
        self,
        behaviors: Sequence[str],
        *,
        estimator: Estimator | str,
        intervention: Intervention | str,
        progress: Progress | None = None,
    ) -> xr.DataArray:
        """Return the effect of every step alone."""

    def with_step_effects(
        self, answer: xr.Dataset, *, intervention: Intervention | str, progress: Progress | None = None
    ) -> xr.Dataset:
        """Return an answer with the effects of single steps on its behaviors."""

    def rank(
        self,
        behaviors: Sequence[str],
        stages: Sequence[str] = (),
        *,
        top: int,
        estimator: Estimator | str,
        intervention: Intervention | str,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the steps or the stages with the largest effects."""

    def score(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Estimator | str,
        intervention: Intervention | str,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the effects of stages on behaviors."""

    def verify(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        estimator: Estimator | str,
        intervention: Intervention | str,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return estimated effects beside exact ones."""

    def shares(
        self,
        stages: str | Sequence[str],
        behaviors: Sequence[str],
        *,
        intervention: Intervention | str,
        permutations: int | None,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return parts of what stages do together, which add up to it."""

    def examples(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        *,
        top: int,
        self_influence: bool,
        within: str | float | None,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Return the effects of leaving single training examples out of stages."""

    def plan_examples(self, stages: Sequence[str], behaviors: Sequence[str], *, top: int, self_influence: bool) -> str:
        """Return what that would compute and what it costs."""

    def training_input(self, step: int, row: int, *, progress: Progress | None = None) -> Any:
        """Return a batch of one: the example in a row of the batch of a step."""

    def save_counterfactual(
        self,
        path: Path,
        stages: Sequence[str],
        *,
        intervention: Intervention | str,
        progress: Progress | None = None,
    ) -> None:
        """Write the model without the stages to a file."""

    def check(
        self,
        behaviors: Sequence[str],
        *,
        samples: int,
        estimator: Estimator | str,
        intervention: Intervention | str,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Compare estimates of a few single steps with exact replays."""

    def exact_seconds(
        self, stages: Sequence[str], behaviors: Sequence[str], *, intervention: Intervention | str
    ) -> float:
        """Return about how long exact answers will take."""

    def verify_trajectory(self, *, samples: int, progress: Progress | None = None) -> Report:
        """Check that the recording is what happened."""

    def plan(
        self,
        stages: Sequence[str],
        behaviors: Sequence[str],
        estimator: Estimator | str,
        intervention: Intervention | str,
    ) -> Plan:
        """Return what would be computed and what that costs."""
