"""What was reconstructed, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aadsl.core.aligned import listing
from aadsl.trajectory import Gap, Trajectory, open_trajectory


@dataclass(frozen=True)
class Reconstruction:
    """A run that was trained again from checkpoint to checkpoint.

    Attributes:
        path: the folder; ``aadsl.open_trajectory(path)`` opens it later, in a cell ``load "…" with …``.
        trajectory: the recording of all gaps, as one; its steps count from the first checkpoint.
        first: after how many steps that was kept.
    """

    path: Path
    trajectory: Trajectory
    first: int = 0

    @classmethod
    def opened(cls, path: Path, first: int) -> Reconstruction:
        """Return what lies in a folder."""
        return cls(path, open_trajectory(path), first)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was trained again from each checkpoint to the next."""
        return self.trajectory.gaps

    @property
    def approximate(self) -> tuple[Gap, ...]:
        """The gaps that do not end at the checkpoint that they lead to."""
        return tuple(gap for gap in self.gaps if gap.verdict == "approximate")

    def __repr__(self) -> str:
        count, beside = len(self.gaps), len(self.approximate)
        gaps = f"{self.trajectory.length:,} steps in {count} gap{'s' * (count > 1)}"
        agree = f"{beside} of them approximate" if beside else "all agree with the checkpoints"
        title = f"<aadsl.Reconstruction {self.path}: {gaps}, {agree}>"
        return listing(title, [("steps", "mismatch", "rounding", "verdict"), *map(self._row, self.gaps)])

    def _row(self, gap: Gap) -> Sequence[str]:
        steps = f"{self.first + gap.start} … {self.first + gap.stop - 1}"
        explained = "decides it" if gap.explained == float("inf") else f"{gap.explained:.2g}"
        return steps, f"{gap.mismatch:.2g}", explained, f"{gap.verdict}{f'; {gap.remark}' if gap.remark else ''}"
