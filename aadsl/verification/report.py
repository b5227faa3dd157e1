"""What verification found."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple

from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.texts import told

MARKS = {"passed": "✓", "note": "·", "failed": "✗"}

_OWN_RUN = (
    "let steps alone change weights and optimizer; what follows another change is a run of its own, of its own recorder"
)
_NUMBERS = (
    "announce a batch before its forward pass, or say recorder.forward_begins() before the loss draws, where it does "
    "so before it calls the model; tell of generators of your own: Recorder(…, generators=[g]), and the study, too"
)
_RESTORE = "restore the files from a copy, or record the run again"
_DATA = "give the data set that the run was trained on, in the order to which the recorded indices belong"
_LOSS = "give the loss that was trained with, as the mean over the batch"
_CLIP = 'record with clip=Clip("norm", …), or clip=Clip("value", …), where the loop clips gradients'
_RATE = "set learning rates before optimizer.step(), where the recorder reads them, and never edit the files"
REMEDIES = {
    "missing segment": _RESTORE,
    "changed file": _RESTORE,
    "schema": _RESTORE,
    "broken chain": "chain runs of which each began with the weights, frozen ones too, that the one before ended with",
    "changed weight": "let the optimizer alone change weights; load into the model the frozen ones that the run had",
    "changed gradient": "put the change into the loss or the model, as a term or a mask; clip all parameters alike",
    "autocast": "give the model that was trained, where a Trainer or Accelerate put the precision into it; or put it "
    "into the loss: with torch.autocast(device, dtype): return loss_fn(model, batch)",
    "other dropout rate": "give the model with the dropout that it was trained with",
    "other labels": "give the labels that the run was trained with",
    "model or data": "give the model, the loss and the data that were trained with",
    "other dtype": "give the model in the dtype of the run, say model.float()",
    "data of another dtype": "give the data in the dtype that the run had, such as inputs.float() or labels.long()",
    "shuffled data": _DATA,
    "other data": _DATA,
    "random data": "record the batches themselves, recorder.batch((inputs, targets)), instead of their indices",
    "some steps differ": "record such steps as they were: batches where they are used, and a recorder for each loss",
    "told weights": "leave weight= out, and it is measured; or give the loss that it is told of",
    "untold weights": "say what the loss of each micro-batch was multiplied by: recorder.batch(…, weight=…)",
    "optimizer written": _OWN_RUN,
    "other average": "take the model in after each step, before the next batch, and write nothing else to the average",
    "buffers written": "call model.eval() before validation, and recalibrate statistics after the recorder is closed",
    "weights written": _OWN_RUN,
    "other loss": f"{_LOSS}; announce the batches that were used, by the indices that came with them or as they are",
    "other loss or data": f"{_LOSS}; {_DATA}",
    "other loss or other lr": f"{_LOSS}; {_RATE}",
    "other mode": "call model.train() or model.eval() before the forward of a step, as the run is to be repeated",
    "other learning rate": _RATE,
    "undeclared clip": _CLIP,
    "undeclared clip or other lr": f"{_CLIP}; {_RATE}",
    "compiled dropout": "record it anew after torch._inductor.config.fallback_random = True, or not compiled",
    "other dropout": _NUMBERS,
    "other random numbers": _NUMBERS,
}
"""What to do about each cause."""


class Compared(NamedTuple):
    """Steps ``start <= t < stop`` between two stored states, replayed and compared with the state at their end.

    Attributes:
        start: the first step.
        stop: the step after the last one.
        deviation: by how much the replay was off, relative to what it moved.
        fits: whether that is within the tolerance; else rounding explains it.
        exact: whether every bit was the same.
    """

    start: int
    stop: int
    deviation: float
    fits: bool
    exact: bool


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``cause`` is a short name of what is wrong (``"shuffled data"``), empty where nothing is; ``text`` says it in full.
    ``compared`` are the stretches of which nothing wrong was found.
    """

    outcome: Literal["passed", "note", "failed"]
    text: str
    cause: str = ""
    compared: tuple[Compared, ...] = ()

    @property
    def remedy(self) -> str:
        """What to do about it; empty where nothing is wrong."""
        return REMEDIES[self.cause] if self.cause else ""


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

    @property
    def compared(self) -> tuple[Compared, ...]:
        """The stretches that were replayed, and of which nothing wrong was found."""
        return tuple(one for finding in self.findings for one in finding.compared)

    @property
    def failure(self) -> str:
        """What failed, in words; empty where nothing did."""
        failed = [finding for finding in self.findings if finding.outcome == "failed"]
        return "; ".join(f"{finding.cause}: {finding.text}" for finding in failed)

    @checked
    def require(self, hint: str = "trajectory.verify(...) shows everything that was checked") -> None:
        """Raise AadslError unless the trajectory is sound; ``hint`` is the way out."""
        if not self.ok:
            raise AadslError(
                f"the trajectory {self.trajectory} does not pass verification: {self.failure}",
                hint="\n".join([*self._remedies, hint]),
            )

    @property
    def _remedies(self) -> list[str]:
        return list(dict.fromkeys(finding.remedy for finding in self.findings if finding.cause))

    @property
    def _verdict(self) -> str:
        passed = "is what happened, as far as was checked"
        return f"trajectory {self.trajectory} {passed if self.ok else 'does not pass verification'}"

    def __str__(self) -> str:
        lines = [f"{MARKS[finding.outcome]} {finding.text}" for finding in self.findings]
        return told("\n".join([self._verdict, *lines, *(f"→ {remedy}" for remedy in self._remedies)]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = [
            f"{MARKS[f.outcome]} {f'<b>{escape(f.cause)}</b>: ' if f.cause else ''}{escape(told(f.text))}"
            for f in self.findings
        ]
        items += [f"→ {escape(remedy)}" for remedy in self._remedies]
        listed = "".join(f"<li>{item}</li>" for item in items)
        return f'<p><b>{escape(told(self._verdict))}</b></p><ul style="list-style: none; padding: 0">{listed}</ul>'
