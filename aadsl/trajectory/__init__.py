"""Trajectories: recorded by :class:`Recorder`, read with :func:`open_trajectory`.

A trajectory is a folder of netCDF-4 files, each readable with ``xarray.open_dataset``;
:mod:`aadsl.trajectory.read.schema` says what is in them.
"""

from aadsl.core.clip import Clip
from aadsl.trajectory.read.naming import without_peft
from aadsl.trajectory.read.reader import Trajectory, open_trajectory
from aadsl.trajectory.read.united import fresh
from aadsl.trajectory.record.plans import budget, every
from aadsl.trajectory.record.recorder import Recorder
from aadsl.trajectory.store.specs import (
    AVERAGE_COUNT,
    AVERAGE_WEIGHT,
    BUFFERS_WRITTEN,
    OPTIMIZER_WRITTEN,
    WEIGHTS_WRITTEN,
    Beginning,
    Fresh,
    Gap,
    Job,
    Merge,
    Merged,
    ParameterSpec,
    Phase,
    Resized,
)

__all__ = [
    "AVERAGE_COUNT",
    "AVERAGE_WEIGHT",
    "BUFFERS_WRITTEN",
    "OPTIMIZER_WRITTEN",
    "WEIGHTS_WRITTEN",
    "Beginning",
    "Clip",
    "Fresh",
    "Gap",
    "Job",
    "Merge",
    "Merged",
    "ParameterSpec",
    "Phase",
    "Recorder",
    "Resized",
    "Trajectory",
    "budget",
    "every",
    "fresh",
    "open_trajectory",
    "without_peft",
]
