"""Whether a trajectory is what happened: its files, the model and data it is joined with, and replayed steps.

>>> report = trajectory.verify(model=net, loss=loss_fn, data=train)   # doctest: +SKIP
>>> report.ok   # doctest: +SKIP
True
"""

from aadsl.verification.passing import DiffersError, Passing
from aadsl.verification.report import Compared, Finding, Report
from aadsl.verification.verify import spots, verify, verify_history

__all__ = ["Compared", "DiffersError", "Finding", "Passing", "Report", "spots", "verify", "verify_history"]
