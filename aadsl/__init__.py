"""Which stage of its training made a model behave as it does, and how sure are we?

Record a run with :class:`Recorder`, open it with :func:`open_trajectory`, ask with :class:`Study` from Python, or
with :func:`run` in the language of ``%%aascore`` cells.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aadsl.core.attached import attach
from aadsl.core.version import __version__

if TYPE_CHECKING:
    from aadsl import datasets
    from aadsl.core.errors import AadslError
    from aadsl.data.indexed import indexed
    from aadsl.reconstruction import Reconstruction, reconstruct
    from aadsl.replayed.joins import lora_merged
    from aadsl.statements import Result, Session, run
    from aadsl.study import Study
    from aadsl.trajectory import Recorder, Trajectory, fresh, open_trajectory

__all__ = [
    "AadslError",
    "Reconstruction",
    "Recorder",
    "Result",
    "Session",
    "Study",
    "Trajectory",
    "__version__",
    "datasets",
    "fresh",
    "indexed",
    "lora_merged",
    "open_trajectory",
    "reconstruct",
    "run",
]

# Imported on first use: a training loop that only records should not wait for the language or the charts.
_HOMES = {
    "AadslError": "aadsl.core.errors",
    "Reconstruction": "aadsl.reconstruction",
    "Recorder": "aadsl.trajectory",
    "Result": "aadsl.statements",
    "Session": "aadsl.statements",
    "Study": "aadsl.study",
    "Trajectory": "aadsl.trajectory",
    "fresh": "aadsl.trajectory",
    "indexed": "aadsl.data.indexed",
    "lora_merged": "aadsl.replayed.joins",
    "open_trajectory": "aadsl.trajectory",
    "reconstruct": "aadsl.reconstruction",
    "run": "aadsl.statements",
}

# What classes of lower layers offer and higher ones carry out.
attach("Trajectory.verify", lambda: import_module("aadsl.verification").verify)
attach("Names.select", lambda: import_module("aadsl.statements").select)
attach("Result.explore", lambda: import_module("jupyter_ext.explorer").explore)


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return import_module("aadsl.datasets")
    if name not in _HOMES:
        raise AttributeError(f"module 'aadsl' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(shell: Any) -> None:
    """Load the notebook extension: ``%load_ext aadsl``."""
    import_module("jupyter_ext").load_ipython_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Unload the notebook extension: ``%unload_ext aadsl``."""
    import_module("jupyter_ext").unload_ipython_extension(shell)
