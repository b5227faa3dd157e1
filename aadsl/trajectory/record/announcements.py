"""What ``recorder.batch(...)`` was given, checked and copied."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from aadsl.core.errors import AadslError
from aadsl.core.generators import as_tensor
from aadsl.data.indexed import DrawnPositions
from aadsl.trajectory.record.rows import NOTHING, MicroBatch
from aadsl.trajectory.record.vocabulary import Vocabulary, require_storable
from aadsl.trajectory.store.specs import BOUNDARY, LOADER
from aadsl.trajectory.store.structure import Taken, taken_apart
from aadsl.trajectory.store.tensors import Packed

_INT64 = np.dtype(np.int64)
_BASES = (str, bool, int, float)
_SCALARS = set(_BASES)
_NONE = Taken("", NOTHING, 0)


def announced(
    tensors: Any,
    indices: Any,
    size: Any,
    weight: Any,
    metadata: Mapping[str, Any],
    vocabulary: Vocabulary,
    data_length: int | None,
) -> tuple[MicroBatch, dict[str, Any]]:
    """Return the micro-batch and the step's metadata. Raises AadslError for what cannot be recorded."""
    taken = _NONE if tensors is None else taken_apart(tensors)
    states: Mapping[str, bytes] = {}
    if isinstance(indices, DrawnPositions):
        indices, states = indices
    positions = None if indices is None else _indices(indices, data_length)
    length = taken.length if positions is None else len(positions)
    if size is not None:
        length = _size(size, positions)
    batch = MicroBatch(length, positions, taken.tensors, taken.structure, NOTHING, NOTHING)
    if states:
        batch.rng = {f"{LOADER}{name}": as_tensor(state) for name, state in states.items() if state}
    if isinstance(weight, (list, tuple)) or getattr(weight, "ndim", False):
        metadata = {**metadata, "weight": weight}  # of each example
    elif weight is not None:
        batch.weight = _weight(weight)
    scalars: dict[str, Any] = {}
    for name, value in metadata.items():
        if type(value) not in _SCALARS:
            if value is None:
                continue
            value = _converted(name, value, batch, vocabulary)
            if value is None:
                continue
        text = type(value) is str
        if vocabulary.steps.get(name) is not text:
            vocabulary.admit(name, text, vocabulary.steps)
        if text or type(value) is int:
            require_storable(name, value)
        scalars[name] = value
    return batch, scalars


def _size(size: Any, positions: NDArray[np.int64] | None) -> int:
    """Return the number of examples that was told."""
    if type(size) is not int or size < 0 or (positions is not None and size != len(positions)):
        count = "" if positions is None else f", and there are {len(positions)} indices"
        raise AadslError(f"size={size!r} is not the number of examples of the batch{count}", hint="leave size= out")
    return size


def _weight(weight: Any) -> float:
    """Return the weight of a micro-batch as a number."""
    scalar = (
        not weight.ndim if isinstance(weight, (Tensor, np.ndarray)) else isinstance(weight, (int, float, np.number))
    )
    if not (scalar and isfinite(float(weight))):
        raise AadslError(
            f"weight={weight!r} is no number that the loss of a micro-batch can be multiplied by",
            hint="give the part that its loss has in the loss of the step, 0.75 say; metadata need another name",
        )
    return float(weight)


class ComingStep:
    """What is known of the step that comes next; of no use any more once that step was taken.

    Attributes:
        number: of the step.
        batches: what was announced.
        boundary: what begins with it, a value of ``BOUNDARY``.
        used: of these what the step used.
        loss: what ``backward()`` was called on, in all; None where that was not seen.
        fresh: the parameter groups that start afresh with it, where others go on.
        begun: the optimizer that began to step last.
        taken: the optimizers that have taken their step in it.
        after: the state after them, where it is to be kept.
        of_all: the metadata that several processes agree on; None where there is one.
    """

    __slots__ = (
        "_forgotten", "_interrupted", "_told", "after", "batches", "begun", "boundary", "fresh", "loss", "number",
        "of_all", "taken", "used",
    )  # fmt: skip

    def __init__(self, number: int, boundary: int = BOUNDARY["none"]) -> None:
        self.number = number
        self.batches: list[MicroBatch] = []
        self._told: list[dict[str, Any]] = []
        self.used: list[MicroBatch] = []
        self.loss: Tensor | float | None = None
        self.boundary = boundary
        self.fresh: list[int] = []
        self.taken: tuple[Optimizer, ...] = ()
        self.after: Packed | None = None
        self.begun: Optimizer | None = None
        self.of_all: dict[str, Any] | None = None
        self._forgotten = self._interrupted = False

    @property
    def stepping(self) -> bool:
        """Whether an optimizer has begun to step and has not ended."""
        return self.begun is not None and self.begun not in self.taken

    def begin(self, optimizer: Optimizer) -> None:
        """Note that an optimizer begins to step."""
        self.begun, self.after = optimizer, None

    def end(self) -> None:
        """Note that it has ended. Whatever interrupts this call, it has or it has not."""
        assert self.begun is not None
        self.taken = (*self.taken, self.begun)

    def add(self, batch: MicroBatch, told: dict[str, Any]) -> None:
        """Add a micro-batch, and the metadata told with it."""
        self.batches.append(batch)
        self._told.append(told)
        if self.begun is not None:
            self._interrupted |= self.stepping  # the loop goes on, and the optimizer has not ended

    @property
    def metadata(self) -> dict[str, Any]:
        """What was told with the batches that were used.

        Of each name the latest counts, but the loss is of all: Σ weight·loss, or the mean. Where it was not told, it is
        what was differentiated.
        """
        if self.of_all is not None:
            return self.of_all
        seen = {} if self.loss is None else {"loss": self.loss}
        if len(self._told) == 1 and self.batches[0].weight is None:
            return self._told[0] if "loss" in self._told[0] else seen | self._told[0]
        told = [pair for pair in zip(self.batches, self._told, strict=True) if any(pair[0] is own for own in self.used)]
        losses = [(batch.weight, one["loss"]) for batch, one in told if "loss" in one]
        together = seen | {name: value for _, one in told for name, value in one.items()}
        if losses:
            together["loss"] = sum(loss / len(losses) if weight is None else loss * weight for weight, loss in losses)
        return together

    def forget(self, ahead: int = 0) -> None:
        """Forget what was announced: no step came of it; but not the last ``ahead``, whose passes are to come."""
        kept = len(self.batches) - ahead
        self._forgotten |= kept > 0
        self.batches, self._told = self.batches[kept:], self._told[kept:]

    def require_declared(self, used: int, declared: int | None) -> None:
        """Raise AadslError where another number of micro-batches is used than declared; say which are left out."""
        if used < len(self.batches):
            tell_unused(len(self.batches) - used, self.number)
        if declared is not None and used != declared:
            raise AadslError(
                f"step {self.number} took {used} micro-batches, accumulate={declared} was declared",
                hint="leave accumulate= out where steps differ",
            )

    def require_ready(self, optimizer: Optimizer) -> None:
        """Make sure that the optimizer may take the step.

        Raises:
            AadslError: no micro-batch was announced, only some with their weights, or the step was interrupted.
        """
        count = len(self.batches)
        if self._interrupted or (self.begun is not None and self.stepping and optimizer is not self.begun):
            raise AadslError(
                f"step {self.number} was interrupted halfway, so it is not known what it changed",
                hint="close this recorder, and record what follows into a new folder",
            )
        if not count and self._forgotten:
            raise AadslError(
                f"step {self.number} was announced, but then its gradients were set to None or zero",
                hint="announce what the step trains on after zero_grad(), before its forward pass; an optimizer that "
                "moves the weights back and forth within a step (SAM) cannot be recorded",
            )
        if not count:
            raise AadslError(
                f"step {self.number} was not announced",
                hint="call recorder.batch(indices=…) or recorder.batch((inputs, targets)) before optimizer.step()",
            )
        if count > 1 and len({batch.weight is None for batch in self.batches}) > 1:
            raise AadslError(
                f"of the {count} micro-batches of step {self.number} some were told their weight, others were not",
                hint="say recorder.batch(…, weight=…) of each: the part that its loss has in the loss of the step",
            )


def _converted(name: str, value: Any, batch: MicroBatch, vocabulary: Vocabulary) -> Any:
    """Return a tensor or NumPy scalar as one value for the step; None for one an example, which go to the batch."""
    if isinstance(value, Tensor):
        if value.ndim == 0 and not value.is_complex():
            # On a GPU .item() would wait for all queued work; the writer does that later.
            return value.item() if value.is_cpu else value.detach().clone()
        value = (value.detach().float() if value.dtype == torch.bfloat16 else value.detach()).cpu().numpy()
    if isinstance(value, (str, int, float)):  # of a class of their own, as the members of an Enum
        return next(kind.__str__(value) if kind is str else kind(value) for kind in _BASES if isinstance(value, kind))
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 and value.dtype.kind in "biufU":
        return value.item()
    array = _array(value)
    numeric = array.dtype.kind in "bif"
    values = [] if numeric or array.ndim != 1 else [item for item in array.tolist() if item is not None]
    if array.ndim != 1 or len(array) != batch.size or not _SCALARS.issuperset(map(type, values)):
        raise AadslError(
            f'the metadata "{name}" is neither one value nor one for each of the {batch.size} examples',
            hint="give text, true/false, a number or a 0-dim tensor; for examples a list as long as the batch",
        )
    for text in {False} if numeric else {type(item) is str for item in values}:
        vocabulary.admit(name, text, vocabulary.examples)
    for item in values:
        require_storable(name, item)
    batch.examples = {**batch.examples, name: array if numeric else array.astype(object)}
    return None


def _array(value: Any) -> np.ndarray[Any, Any]:
    if not isinstance(value, (list, tuple, np.ndarray)):
        return np.empty((0, 0))
    array = np.array(value)
    # NumPy makes text of numbers that stand beside text.
    beside = array.dtype.kind == "U" and not isinstance(value, np.ndarray)
    return np.array(value, dtype=object) if beside else array


def _indices(indices: Any, data_length: int | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    # A copy in any case: the caller may reuse theirs.
    if isinstance(indices, Tensor):
        simple = indices.is_cpu and not indices.requires_grad  # several calls into PyTorch are saved
        array = indices.numpy().copy() if simple else np.array(indices.numpy(force=True))
    else:
        array = np.array(indices)
    if array.ndim != 1:
        array = array.reshape(-1)
    if array.dtype is not _INT64:
        if array.dtype.kind not in "iu" and array.size:
            raise AadslError(
                f"indices are {array.dtype}, not whole numbers", hint="give the positions of the examples in the data"
            )
        array = array.astype(np.int64)
    # As unsigned numbers, negative ones are the largest: one pass finds both kinds of strays.
    if data_length is not None and array.size:
        farthest = int(array[array.view(np.uint64).argmax()])
        if not 0 <= farthest < data_length:
            raise AadslError(
                f"index {farthest} is outside the data of {data_length} examples",
                hint="indices count from 0 in the data set given to the recorder",
            )
    return array


def tell_unused(count: int, step: int) -> None:
    """Say that a step did not use batches which were announced for it."""
    batches = "a batch was" if count == 1 else f"{count} batches were"
    warnings.warn(
        f"{batches} announced for step {step}, and the step did not use {'it' if count == 1 else 'them'}: left out",
        stacklevel=5,
    )
