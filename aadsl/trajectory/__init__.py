"""Trajectories: recorded by :class:`Recorder`, read with :func:`open_trajectory`.

A trajectory is a folder of netCDF-4 files, each readable with ``xarray.open_dataset``; :mod:`aadsl.trajectory.schema`
says what is in them.
"""

from aadsl.trajectory.plans import budget, every
from aadsl.trajectory.reader import Trajectory, open_trajectory
from aadsl.trajectory.recorder import Recorder
from aadsl.trajectory.rows import WEIGHTS_WRITTEN
from aadsl.trajectory.specs import Clip, Job, ParameterSpec, Phase

__all__ = [
    "WEIGHTS_WRITTEN",
    "Clip",
    "Job",
    "ParameterSpec",
    "Phase",
    "Recorder",
    "Trajectory",
    "budget",
    "every",
    "open_trajectory",
]
