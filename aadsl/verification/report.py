"""What verification found."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal

from aadsl.errors import AadslError

MARKS = {"passed": "✓", "note": "·", "failed": "✗"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``cause`` is a short name of what is wrong (``"shuffled data"``), empty where nothing is; ``text`` says it in full.
    """

    outcome: Literal["passed", "note", "failed"]
    text: str
    cause: str = ""


@dataclass(frozen=True)
class Report:
    """All findings, in the order in which they were made."""

    trajectory: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.outcome == "failed" for finding in self.findings)

    @property
    def causes(self) -> tuple[str, ...]:
        """The short names of what failed."""
        return tuple(finding.cause for finding in self.findings if finding.outcome == "failed")

    def require(self) -> None:
        """Raise AadslError unless the trajectory is sound."""
        if not self.ok:
            failed = [finding.text for finding in self.findings if finding.outcome == "failed"]
            raise AadslError(
                f"the trajectory {self.trajectory} does not pass verification: {'; '.join(failed)}",
                hint="trajectory.verify(...) shows everything that was checked",
            )

    def __str__(self) -> str:
        verdict = "is what happened, as far as was checked" if self.ok else "does not pass verification"
        lines = [f"{MARKS[finding.outcome]} {finding.text}" for finding in self.findings]
        return "\n".join([f"trajectory {self.trajectory} {verdict}", *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *rest = str(self).splitlines()
        return f"<p><b>{escape(first)}</b></p><ul>{''.join(f'<li>{escape(line)}</li>' for line in rest)}</ul>"
